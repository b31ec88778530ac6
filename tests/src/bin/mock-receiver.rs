//! A receiver of webhooks that can misbehave: `mock-receiver --help`.

fn main() -> std::process::ExitCode {
    bulkhead_tests::mock::receiver::main()
}
