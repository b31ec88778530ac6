//! A certificate authority for demonstrations. See `mock-authority --help`.

fn main() -> std::process::ExitCode {
    bulkhead_tests::mock::authority::main()
}
