//! The `oncegate` command.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    oncegate::cli::run(std::env::args_os(), std::env::vars_os())
}
