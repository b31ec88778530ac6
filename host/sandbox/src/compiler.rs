//! The compiler, in a process of its own. A file of a kilobyte can ask it for any amount of time and memory,
//! and find what it does not survive; requests are answered by another process.

use crate::codegen;
use crate::refusal::{Refusal, RefusalKind};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

/// What compiling one component may take.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Octets of address space.
    pub memory_octets: u64,
    /// Time of a processor, whole seconds of it.
    pub time: Duration,
}

/// The program that is running, even where its file was replaced meanwhile: what it compiles for
/// another build would not fit this one.
const SELF: &str = "/proc/self/exe";

/// The first octet of what the compiler says.
const CODE: u8 = 0;
const ERROR: u8 = 1;

/// Machine code, from a process that this program starts: itself, with `arguments` and the limits behind
/// them, which are for [`serve`]. Blocks until that ends.
pub(crate) fn compile_apart(
    wasm: &[u8],
    arguments: &[&str],
    limits: &CompileLimits,
) -> Result<Vec<u8>, Refusal> {
    let here = |error: std::io::Error| {
        let reason = format!("the compiler cannot be started: {error}");
        Refusal::new(RefusalKind::TooDemanding, reason)
    };
    let mut child = Command::new(SELF)
        .args(arguments)
        .arg(limits.memory_octets.to_string())
        .arg(limits.time.as_secs().to_string())
        // Secrets among them.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(here)?;
    // It reads all before it says anything. Where it ends before that, its status tells why.
    if let Some(mut stdin) = child.stdin.take() {
        let _ended_early = stdin.write_all(wasm);
    }
    let mut said = Vec::new();
    let stdout = child.stdout.take();
    let read = stdout.map(|stdout| stdout.take(limits.memory_octets).read_to_end(&mut said));
    let status = child.wait().map_err(here)?;
    read.transpose().map_err(here)?;
    match said.split_first() {
        Some((&CODE, code)) if status.success() => Ok(code.to_vec()),
        Some((&ERROR, text)) if status.success() => {
            let text = String::from_utf8_lossy(text);
            let reason = format!("it does not compile: {text}");
            Err(Refusal::new(RefusalKind::Invalid, reason))
        }
        _ => Err(ended(status, limits)),
    }
}

/// Why there is neither code nor an error.
fn ended(status: ExitStatus, limits: &CompileLimits) -> Refusal {
    let signal = status.signal().and_then(Signal::from_named_raw);
    let reason = match signal {
        Some(Signal::XCPU) => format!(
            "to compile it takes more than {} s of a processor; --component-compile-time \
             (BULKHEAD_COMPONENT_COMPILE_TIME) allows more",
            limits.time.as_secs()
        ),
        Some(Signal::ABORT | Signal::SEGV) => format!(
            "to compile it takes more than {} octets of memory, or too much of the stack; \
             --component-compile-memory (BULKHEAD_COMPONENT_COMPILE_MEMORY) allows more memory",
            limits.memory_octets
        ),
        Some(Signal::KILL) => {
            "the compiler was killed, most likely since the machine or container has too \
             little memory: give it more, or lower --component-compile-memory \
             (BULKHEAD_COMPONENT_COMPILE_MEMORY)"
                .to_owned()
        }
        _ => {
            let reason = format!("the compiler does not survive it ({status})");
            return Refusal::new(RefusalKind::Invalid, reason);
        }
    };
    Refusal::new(RefusalKind::TooDemanding, reason)
}

/// The other end: takes Wasm from standard input and puts machine code, or why there is none, on standard
/// output, within the limits. Ends with the thread that started it.
pub fn serve(limits: CompileLimits) -> ExitCode {
    match answer(limits) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(limits: CompileLimits) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let seconds = limits.time.as_secs();
    for (resource, soft, hard) in [
        (Resource::As, limits.memory_octets, limits.memory_octets),
        // The first ends it by a signal with a name; the second only where that is ignored.
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
