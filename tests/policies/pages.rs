//! The pages for authors of policies: every command in them is run as it stands there, and what they show
//! of a configuration or of test vectors is taken.

use crate::policies::kit::{Shop, building_alone, tools_path};
use crate::support::*;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a page shows: indented by four, or between fences.
enum Shown {
    /// Lines for a shell.
    Commands(String),
    /// A piece of a configuration.
    Config(String),
    /// Test vectors.
    Vectors(String),
}

fn shown(page: &Path) -> Vec<Shown> {
    let text = std::fs::read_to_string(page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let mut all = Vec::new();
    let mut lines = text.lines().peekable();
    let mut before = "";
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let inner: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let inner = inner.join("\n") + "\n";
            match kind {
                "sh" => all.push(Shown::Commands(inner)),
                "toml" => all.push(Shown::Config(inner)),
                "json" if inner.contains("\"version\"") => all.push(Shown::Vectors(inner)),
                "json" => panic!("{}: JSON that no test takes: {inner}", page.display()),
                // Source of a policy.
                _ => {}
            }
        } else if before.is_empty() && line.starts_with("    ") {
            let mut block = line[4..].to_owned() + "\n";
            while let Some(line) = lines.next_if(|line| line.starts_with("    ") || line.is_empty()) {
                block += line.get(4..).unwrap_or_default();
                block.push('\n');
            }
            let is_config = block.starts_with('[');
            all.push(if is_config { Shown::Config(block) } else { Shown::Commands(block) });
            before = "";
            continue;
        }
        before = line;
    }
    all
}

/// Runs lines in a folder, where `oncegate` is the program under test; what they said, and whether all
/// went well.
fn sh(folder: &Path, lines: &str) -> (bool, String) {
    let program = Path::new(gateway::BINARY).parent().expect("it lies in a folder").to_owned();
    let path = std::env::join_paths(std::iter::once(program).chain(std::env::split_paths(&tools_path())));
    // A registry that doesn't answer is a tool that can't be had.
    let mut command = Command::new("timeout");
    // They would be settings of the gateway's, and there are none of these names.
    for name in std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_string_lossy().starts_with("ONCEGATE_"))
    {
        command.env_remove(name);
    }
    // Pages of several tests make a crate `orders`, and its target folder may be one for all.
    let _alone = (lines.contains("policy build") || lines.contains("plugins/build")).then(building_alone);
    let output = command
        .args(["600", "bash", "-euo", "pipefail", "-c", lines])
        .current_dir(folder)
        .env("PATH", path.expect("plain folders"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("there is a bash");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn runs(folder: &Path, lines: &str) {
    let (fine, said) = sh(folder, lines);
    assert!(fine, "{lines}\n{said}");
}

/// A folder with the pieces of the repository that pages name.
fn sandbox() -> Shop {
    let shop = Shop::new();
    for name in ["plugins", "wit", "host"] {
        std::os::unix::fs::symlink(Path::new(ROOT).join(name), shop.path().join(name)).unwrap();
    }
    shop
}

/// The piece with what else a configuration must have.
fn takes_config(shop: &Shop, piece: &str) {
    let (_, name) = piece.split_once("[policies.").unwrap_or_else(|| panic!("no policy in {piece}"));
    let name = name.split(']').next().unwrap();
    let upstream = piece.split_once("[upstreams.").map(|(_, rest)| rest.split(']').next().unwrap());
    let mut text = piece.to_owned();
    if upstream.is_none() {
        text += "[upstreams.origin]\nurls = [\"http://127.0.0.1:9\"]\n";
    }
    if !piece.contains("[[routes]]") {
        let upstream = upstream.unwrap_or("origin");
        text += &format!(
            "[[routes]]\nname = \"all\"\npath = \"/\"\nupstream = \"{upstream}\"\npolicy = \"{name}\"\n"
        );
    }
    std::fs::write(shop.path().join("oncegate.toml"), &text).unwrap();
    std::fs::write(shop.path().join("bank-credentials"), "Authorization: Bearer x\n").unwrap();
    let (fine, said) = sh(shop.path(), "chmod 600 bank-credentials; oncegate check --config oncegate.toml");
    assert!(fine, "{text}\n{said}");
}

/// All of a page but what its commands are.
fn takes_what_is_shown(shop: &Shop, shown: &Shown) {
    match shown {
        Shown::Config(piece) => takes_config(shop, piece),
        Shown::Vectors(vectors) => {
            std::fs::write(shop.path().join("vectors.json"), vectors).unwrap();
            // Those of hooks are the ones of the policy that asks.
            let asks = vectors.contains("\"settle\"");
            let policy = if asks { "plugins/payments-probe" } else { "builtin:idempotency-key" };
            runs(shop.path(), &format!("oncegate policy test {policy} --vectors vectors.json"));
        }
        Shown::Commands(_) => {}
    }
}

#[test]
fn the_page_of_policies_is_true() {
    let shop = sandbox();
    let page = Path::new(ROOT).join("plugins/README.md");
    // Answers of a service, as an author would have kept them.
    for (name, body) in [("answer.http", "{\"id\":\"ch_1\"}"), ("list.http", "{\"data\":[]}")] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{body}");
        std::fs::write(shop.path().join(name), answer).unwrap();
    }
    let mut commands = 0;
    for shown in shown(&page) {
        takes_what_is_shown(&shop, &shown);
        let Shown::Commands(lines) = shown else { continue };
        if lines.contains("rustup") && !sh(shop.path(), "rustup target add wasm32-unknown-unknown").0 {
            external::skip("pages", "rustup target add wasm32-unknown-unknown");
            continue;
        }
        // Not beside its source: `plugins/check` holds that one against a build of its own.
        let built = shop.path().join("built");
        std::fs::create_dir_all(&built).unwrap();
        let lines = lines.replace("plugins/build", &format!("plugins/build --out {}", built.display()));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().display();
        let of_the_repository = lines.contains("plugins/build");
        let folder = if of_the_repository { Path::new(ROOT) } else { shop.path() };
        runs(folder, &format!("export CARGO_TARGET_DIR={target}\n{lines}"));
        assert!(!of_the_repository || built.join("header-key.wasm").is_file());
        commands += 1;
    }
    assert!(commands >= 2, "{commands} blocks of commands");
}

#[test]
fn the_pages_of_policies_on_the_shelf_are_true() {
    let shop = sandbox();
    let folders = std::fs::read_dir(Path::new(ROOT).join("plugins")).unwrap();
    let pages: Vec<PathBuf> =
        folders.map(|entry| entry.unwrap().path().join("README.md")).filter(|page| page.is_file()).collect();
    assert!(pages.len() >= 4, "{pages:?}");
    for page in pages {
        for shown in shown(&page) {
            takes_what_is_shown(&shop, &shown);
            if let Shown::Commands(lines) = shown {
                runs(shop.path(), &lines);
            }
        }
    }
}

#[test]
fn the_page_of_the_interface_is_true() {
    let page = Path::new(ROOT).join("wit/README.md");
    let shop = sandbox();
    shown(&page).iter().for_each(|shown| match shown {
        Shown::Commands(lines) => runs(shop.path(), lines),
        other => takes_what_is_shown(&shop, other),
    });
    let text = std::fs::read_to_string(&page).unwrap();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        let path = page.parent().unwrap().join(link.split('#').next().unwrap());
        assert!(path.exists(), "wit/README.md links to {link}, which is not there");
    }
}

/// A language's page, in the folder that `oncegate policy new` makes: from getting the tools on.
fn page_of(language: &str) {
    let shop = Shop::new();
    shop.fine(&["new", "--lang", language, "orders"]);
    let folder = shop.path().join("orders");
    let mut commands = 0;
    for shown in shown(&folder.join("README.md")) {
        takes_what_is_shown(&shop, &shown);
        let Shown::Commands(lines) = shown else { continue };
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let gets_tools = ["npm ", "python3 -m venv", "apt-get", "rustup", "go version"];
            let (fine, said) = sh(&folder, line);
            if !fine && gets_tools.iter().any(|start| line.starts_with(start)) {
                return external::skip(
                    language,
                    &format!("`{line}`: {}", said.lines().last().unwrap_or_default()),
                );
            }
            assert!(fine, "{line}\n{said}");
            commands += 1;
        }
    }
    assert!(commands >= 4, "{commands} commands on the page of {language}");
}

#[test]
fn the_page_of_rust_is_true() {
    page_of("rust");
}

#[test]
fn the_page_of_c_is_true() {
    page_of("c");
}

#[test]
fn the_page_of_javascript_is_true() {
    page_of("js");
}

#[test]
fn the_page_of_assemblyscript_is_true() {
    page_of("assemblyscript");
}

#[test]
fn the_page_of_python_is_true() {
    page_of("python");
}

#[test]
fn the_page_of_go_is_true() {
    page_of("go");
}
