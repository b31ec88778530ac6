//! The thread that watches the components folder. It compiles and checks new files, and activates or
//! rejects them.

use super::active_component::{HotSwap, RejectedFile};
use super::folder::{self, FolderState, Stamp};
use super::metrics::{NOT_PINNED, UNREADABLE};
use super::pins::{self, PinError};
use crate::config::components::ComponentSettings;
use bulkhead_http::ByteSize;
use bulkhead_sandbox::{CompileLimits, Compiled, Rejection, RejectionKind, sha256};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Increment of the thread's nice value. On Linux, nice(2) affects only the calling thread. I/O threads
/// take precedence, because compilation takes seconds and no request waits for it.
const NICE_INCREMENT: i32 = 10;

/// Time between the first event and the scan, because files are often written in groups.
const SETTLING: Duration = Duration::from_millis(50);

/// The result of the last scan of a watched folder.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Mutex<FolderState>>);

impl Watch {
    pub(crate) fn state(&self) -> FolderState {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Starts a thread that watches the folder, unless no folder is configured. Also returns a receiver that is
/// notified after the first scan.
pub(crate) fn watch(
    settings: &ComponentSettings,
    slots: Vec<Arc<dyn HotSwap>>,
) -> std::io::Result<Option<(Watch, oneshot::Receiver<()>)>> {
    let Some(folder) = settings.components_dir.clone() else {
        return Ok(None);
    };
    let state = Watch(Arc::default());
    let mut watcher = Watcher {
        files: slots
            .into_iter()
            .map(|slot| WatchedFile {
                slot,
                decided: None,
            })
            .collect(),
        policy: AdmissionPolicy {
            pins: settings.components_pin.clone(),
            component_max: settings.component_max,
            limits: settings.compile_limits(),
        },
        state: state.clone(),
        folder,
    };
    let pause = settings.components_scan;
    let (first_scan, is_scanned) = oneshot::channel();
    std::thread::Builder::new()
        .name("components".into())
        .spawn(move || {
            if let Err(error) = rustix::process::nice(NICE_INCREMENT) {
                tracing::debug!(%error, "cannot lower the priority of the thread for components");
            }
            let mut events = FileEvents::new();
            watcher.scan();
            let _no_receiver = first_scan.send(());
            loop {
                events.wait(&watcher.folder, pause);
                watcher.scan();
            }
        })?;
    Ok(Some((state, is_scanned)))
}

/// The file that can replace a component. It need not exist.
struct WatchedFile {
    slot: Arc<dyn HotSwap>,
    /// The input of the last decision.
    decided: Option<DecisionInput>,
}

/// The file and the list of pins that decide whether the file becomes active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DecisionInput {
    file: Stamp,
    pins: Option<Stamp>,
}

/// The conditions under which files become active.
struct AdmissionPolicy {
    pins: Option<PathBuf>,
    component_max: ByteSize,
    limits: CompileLimits,
}

struct Watcher {
    folder: PathBuf,
    policy: AdmissionPolicy,
    files: Vec<WatchedFile>,
    state: Watch,
}

impl Watcher {
    fn scan(&mut self) {
        let names: Vec<_> = self.files.iter().map(|file| file.slot.name()).collect();
        let mut found = FolderState::of(&self.folder, &names);
        let unreadable = found.failing.is_some();
        if let Some(Err(error)) = self.policy.pins.as_deref().map(pins::read) {
            found.failing.get_or_insert(error.to_string());
        }
        let before = {
            let mut state = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, found.clone())
        };
        if found.failing != before.failing {
            let folder = self.folder.display();
            if let Some(error) = &found.failing {
                tracing::error!(%folder, error, "cannot reload components");
            } else {
                tracing::info!(%folder, "components can be reloaded again");
            }
        }
        // The active components stay. A missing folder may be a mount that returns.
        if unreadable {
            return;
        }
        if found.unknown != before.unknown && !found.unknown.is_empty() {
            let files = found.unknown.join(", ");
            tracing::warn!(
                files,
                "files ignored: no component in use has this name (signing.wasm needs --upstream-url)"
            );
        }
        for file in &mut self.files {
            let path = self.folder.join(file.slot.name()).with_extension("wasm");
            file.scan(&path, &self.policy);
        }
    }
}

impl WatchedFile {
    fn scan(&mut self, path: &Path, policy: &AdmissionPolicy) {
        let pins = policy.pins.as_deref();
        let reject = |rejection| self.slot.reject(rejection);
        let file = match folder::stamp(path) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.decided = None;
                if let Err(rejection) = self.slot.restore() {
                    let component = self.slot.name();
                    tracing::error!(component, %rejection, "cannot activate the built-in component");
                }
                return;
            }
            Err(error) => return reject(unreadable(format!("it cannot be found: {error}"))),
        };
        let input = DecisionInput {
            file,
            pins: pins.and_then(|pins| folder::stamp(pins).ok().flatten()),
        };
        if self.decided == Some(input) {
            return;
        }
        self.decided = None;
        // A failure to read may be temporary, so that the next scan reads the file again.
        let wasm = match folder::read_component(path, policy.component_max) {
            Ok(wasm) => wasm,
            Err(reason) => return reject(unreadable(reason)),
        };
        // If the file was replaced or written while it was read, the next scan reads it again.
        if folder::stamp(path).ok().flatten() != Some(file) {
            return;
        }
        self.decided = Some(input);
        if let Err(rejection) = self.admit(&wasm, policy) {
            reject(rejection);
        }
    }

    fn admit(&self, wasm: &[u8], policy: &AdmissionPolicy) -> Result<(), RejectedFile> {
        let AdmissionPolicy { pins, limits, .. } = policy;
        let sum = sha256(wasm);
        let rejected = |code, reason| RejectedFile {
            sha256: Some(sum),
            code,
            reason,
        };
        let is_active = self.slot.is_active(&sum);
        if let Some(Err(error)) = pins.as_deref().map(|list| pins::check(list, &sum)) {
            // An active component that was removed from the list must not be called any more. If
            // the list cannot be read, the component stays active.
            let is_removed = is_active && matches!(error, PinError::NotListed);
            if is_removed && let Err(rejection) = self.slot.restore() {
                return Err(rejected(rejection.kind.code(), rejection.reason));
            }
            return Err(rejected(NOT_PINNED, error.to_string()));
        }
        if is_active {
            self.slot.accept();
            return Ok(());
        }
        tracing::info!(
            component = self.slot.name(),
            bytes = wasm.len(),
            sha256 = base16ct::lower::encode_string(&sum),
            "compiling and checking a component file"
        );
        let swap = || {
            Compiled::in_child_process(wasm, &super::COMPILE, limits)
                .and_then(|compiled| self.slot.swap(&compiled))
        };
        // A panic must not end this thread, because no other thread watches the folder.
        std::panic::catch_unwind(AssertUnwindSafe(swap))
            .unwrap_or_else(|_| {
                let reason = "checking it causes a panic of the server";
                Err(Rejection::new(RejectionKind::Invalid, reason))
            })
            .map_err(|rejection| rejected(rejection.kind.code(), rejection.reason))
    }
}

fn unreadable(reason: String) -> RejectedFile {
    RejectedFile {
        sha256: None,
        code: UNREADABLE,
        reason,
    }
}

/// The kernel's events of the folder. They only make the reaction faster. Some file systems have no events,
/// and a mount over the folder causes none. The periodic scan finds all changes.
struct FileEvents {
    watch: Option<OwnedFd>,
}

impl FileEvents {
    fn new() -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        Self {
            watch: inotify::init(flags).ok(),
        }
    }

    /// Waits for an event in the folder, at most for the time `pause`.
    fn wait(&mut self, folder: &Path, pause: Duration) {
        let Some(watch) = &self.watch else {
            return std::thread::sleep(pause);
        };
        // The watch is added each time, because the path may refer to another folder now. Adding the same
        // folder again has no effect. The creation of a file is not an event, because the file is written
        // later.
        let events = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        let _only_periodic_scans = inotify::add_watch(watch, folder, events);
        let timeout = Timespec::try_from(pause).ok();
        let mut polled = [PollFd::new(watch, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut polled, timeout.as_ref()), Ok(1..)) {
            return;
        }
        std::thread::sleep(SETTLING);
        // The events are read, so that they do not end the next wait. Their content is not needed.
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(watch, &mut buffer).is_ok_and(|bytes| bytes > 0) {}
    }
}
