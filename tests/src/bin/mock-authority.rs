//! A certificate authority for set-ups to try. See `mock-authority --help`.

fn main() -> std::process::ExitCode {
    bulkhead_tests::mock::authority::main()
}
