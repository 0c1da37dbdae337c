//! The `oncegate` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let a: Vec<String> = std::env::args().collect();
    let mut source = oncegate::config::Source::default();
    let mut i = 2;
    while i + 1 < a.len() {
        let v = Some(a[i + 1].clone());
        match a[i].as_str() {
            "--upstream" => source.flags.upstream = v,
            "--listen" => source.flags.listen = vec![a[i + 1].clone()],
            "--admin" => source.flags.admin = v,
            "--store" => source.flags.store = v,
            "--data" => source.flags.data = v,
            "--workers" => source.flags.workers = a[i + 1].parse().ok(),
            _ => source.file = Some(a[i + 1].clone().into()),
        }
        i += 2;
    }
    if let Err(e) = oncegate::run::serve(source) { eprintln!("error: {e}"); std::process::exit(1) }
}
