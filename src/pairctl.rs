//! The operator's command.

#![forbid(unsafe_code)]

#[path = "pairctl/mod.rs"]
mod pairctl;

fn main() -> std::process::ExitCode {
    pairctl::main()
}
