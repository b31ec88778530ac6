//! A webhook receiver that can misbehave. See `mock-receiver --help`.

fn main() -> std::process::ExitCode {
    bulkhead_tests::mock::receiver::main()
}
