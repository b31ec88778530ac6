//! The upstream signing API with its failures. See `mock-upstream --help`.

fn main() -> std::process::ExitCode {
    bulkhead_tests::mock::upstream::main()
}
