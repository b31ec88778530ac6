//! The upstream signing API as the relay may meet it: `mock-upstream --help`.

fn main() -> std::process::ExitCode {
    bulkhead_tests::mock::upstream::main()
}
