//! The compiler, in a process of its own. A file of a kilobyte can make it use any amount of time and
//! memory, or crash it. The process that serves requests is not affected.

use crate::codegen;
use crate::rejection::{Rejection, RejectionKind};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

/// The limits on compiling one component.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Maximum address space, in bytes.
    pub memory_bytes: u64,
    /// Maximum processor time. Fractions of a second are ignored.
    pub time: Duration,
}

/// The running program, even if its file was replaced. Machine code from another build would not be accepted.
const SELF: &str = "/proc/self/exe";

/// The first byte of the compiler's output. Machine code or the text of an error follows.
const CODE: u8 = 0;
const ERROR: u8 = 1;

/// Compiles a component in a new process of this program, and returns the machine code. The process gets
/// `arguments` and then the limits for [`serve`]. Blocks until the process ends.
pub(crate) fn compile_in_child_process(
    wasm: &[u8],
    arguments: &[&str],
    limits: &CompileLimits,
) -> Result<Vec<u8>, Rejection> {
    let here = |error: std::io::Error| {
        let reason = format!("the compiler cannot be started: {error}");
        Rejection::new(RejectionKind::TooDemanding, reason)
    };
    let mut child = Command::new(SELF)
        .args(arguments)
        .arg(limits.memory_bytes.to_string())
        .arg(limits.time.as_secs().to_string())
        // The variables may contain secrets.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(here)?;
    // The process reads all input before it writes. If it ends before that, the write fails, and its exit
    // status says why.
    if let Some(mut stdin) = child.stdin.take() {
        let _ended_early = stdin.write_all(wasm);
    }
    let mut output = Vec::new();
    let stdout = child.stdout.take();
    let read = stdout.map(|stdout| stdout.take(limits.memory_bytes).read_to_end(&mut output));
    let status = child.wait().map_err(here)?;
    read.transpose().map_err(here)?;
    match output.split_first() {
        Some((&CODE, code)) if status.success() => Ok(code.to_vec()),
        Some((&ERROR, text)) if status.success() => {
            let text = String::from_utf8_lossy(text);
            let reason = format!("it does not compile: {text}");
            Err(Rejection::new(RejectionKind::Invalid, reason))
        }
        _ => Err(ended(status, limits)),
    }
}

/// Returns the reason for a process that returned neither code nor an error.
fn ended(status: ExitStatus, limits: &CompileLimits) -> Rejection {
    let signal = status.signal().and_then(Signal::from_named_raw);
    let reason = match signal {
        Some(Signal::XCPU) => format!(
            "compiling it takes more than {} s of processor time; raise --component-compile-time \
             (BULKHEAD_COMPONENT_COMPILE_TIME)",
            limits.time.as_secs()
        ),
        Some(Signal::ABORT | Signal::SEGV) => format!(
            "compiling it takes more than {} bytes of memory or too much of the stack; raise \
             --component-compile-memory (BULKHEAD_COMPONENT_COMPILE_MEMORY) for more memory",
            limits.memory_bytes
        ),
        Some(Signal::KILL) => {
            "the compiler was killed, probably because the machine or container has too little \
             memory; give it more, or lower --component-compile-memory \
             (BULKHEAD_COMPONENT_COMPILE_MEMORY)"
                .to_owned()
        }
        _ => {
            let reason = format!("it crashes the compiler ({status})");
            return Rejection::new(RejectionKind::Invalid, reason);
        }
    };
    Rejection::new(RejectionKind::TooDemanding, reason)
}

/// Compiles a component within `limits`, in the process that [`Compiled::in_child_process`](crate::Compiled::in_child_process)
/// starts. Reads Wasm from standard input, and writes the machine code or the text of an error to standard
/// output. Returns the exit status for the process. The process ends with the thread that started it.
pub fn serve(limits: CompileLimits) -> ExitCode {
    match compile_stdin(limits) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn compile_stdin(limits: CompileLimits) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let seconds = limits.time.as_secs();
    for (resource, soft, hard) in [
        (Resource::As, limits.memory_bytes, limits.memory_bytes),
        // The soft limit ends the process with SIGXCPU, which names the reason. The hard limit ends it with
        // SIGKILL, in case the first signal is ignored.
        (Resource::Cpu, seconds, seconds.saturating_add(1)),
        (Resource::Core, 0, 0),
    ] {
        let [current, maximum] = [Some(soft), Some(hard)];
        setrlimit(resource, Rlimit { current, maximum })?;
    }
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm)?;
    let mut stdout = std::io::stdout().lock();
    match codegen::compile(&wasm) {
        Ok(code) => {
            stdout.write_all(&[CODE])?;
            stdout.write_all(&code)?;
        }
        Err(error) => {
            stdout.write_all(&[ERROR])?;
            stdout.write_all(error.to_string().as_bytes())?;
        }
    }
    stdout.flush()
}
