//! The thread that looks after the folder: finds files, has them compiled and tried, puts them in force.

use super::active_component::{HotSwap, Rejection};
use super::folder::{self, FolderState, Stamp};
use super::metrics::{NOT_PINNED, UNREADABLE};
use super::pins::{self, PinError};
use crate::config::components::ComponentSettings;
use bulkhead_http::ByteSize;
use bulkhead_sandbox::{CompileLimits, Compiled, Refusal, RefusalKind, sha256};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How much lower the thread's priority is than that of the I/O threads (nice(2), for a thread alone on
/// Linux): it compiles for seconds, and nobody waits for it.
const NICER: i32 = 10;

/// After a sign that something changed, more of it is waited for so long: files come in groups.
const SETTLING: Duration = Duration::from_millis(50);

/// A folder under watch, and what the last look at it found.
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

/// Looks at the folder from a thread of its own. None where no folder is configured; else what to wait for
/// until the first look is over, too.
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
    let (first, looked) = oneshot::channel();
    std::thread::Builder::new()
        .name("components".into())
        .spawn(move || {
            if let Err(error) = rustix::process::nice(NICER) {
                tracing::debug!(%error, "the thread for components keeps its priority");
            }
            let mut events = FileEvents::new();
            watcher.look();
            let _stopped_meanwhile = first.send(());
            loop {
                events.wait(&watcher.folder, pause);
                watcher.look();
            }
        })?;
    Ok(Some((state, looked)))
}

/// A file that takes the place of a component, whether it is there or not.
struct WatchedFile {
    slot: Arc<dyn HotSwap>,
    /// What the last decision was about.
    decided: Option<Question>,
}

/// Whether this file, with this list of pins, is to be in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    file: Stamp,
    pins: Option<Stamp>,
}

/// Which files are taken.
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
    fn look(&mut self) {
        let names: Vec<_> = self.files.iter().map(|file| file.slot.name()).collect();
        let mut found = FolderState::of(&self.folder, &names);
        let unreadable = found.failing.is_some();
        if let Some(Err(why)) = self.policy.pins.as_deref().map(pins::read) {
            found.failing.get_or_insert(why.to_string());
        }
        let before = {
            let mut state = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, found.clone())
        };
        if found.failing != before.failing {
            let folder = self.folder.display();
            if let Some(error) = &found.failing {
                tracing::error!(%folder, error, "components are not looked after, nothing new is taken");
            } else {
                tracing::info!(%folder, "components are looked after again");
            }
        }
        // What is in force stays: a folder that is gone may be a mount that comes back.
        if unreadable {
            return;
        }
        if found.unknown != before.unknown && !found.unknown.is_empty() {
            let files = found.unknown.join(", ");
            tracing::warn!(
                files,
                "not looked at: not the name of a component that is in use (signing.wasm takes --upstream-url)"
            );
        }
        for file in &mut self.files {
            let path = self.folder.join(file.slot.name()).with_extension("wasm");
            file.look(&path, &self.policy);
        }
    }
}

impl WatchedFile {
    fn look(&mut self, path: &Path, policy: &AdmissionPolicy) {
        let pins = policy.pins.as_deref();
        let refuse = |rejection| self.slot.reject(rejection);
        let file = match folder::stamp(path) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.decided = None;
                if let Err(refusal) = self.slot.restore() {
                    let component = self.slot.name();
                    tracing::error!(component, %refusal, "the built-in component does not start");
                }
                return;
            }
            Err(error) => return refuse(unreadable(format!("it cannot be looked at: {error}"))),
        };
        let question = Question {
            file,
            pins: pins.and_then(|pins| folder::stamp(pins).ok().flatten()),
        };
        if self.decided == Some(question) {
            return;
        }
        self.decided = None;
        // Whatever fails here may not fail at the next look.
        let octets = match folder::read_component(path, policy.component_max) {
            Ok(octets) => octets,
            Err(why) => return refuse(unreadable(why)),
        };
        // Replaced or written to meanwhile: the next look sees what it has become.
        if folder::stamp(path).ok().flatten() != Some(file) {
            return;
        }
        self.decided = Some(question);
        if let Err(rejection) = self.take(&octets, policy) {
            refuse(rejection);
        }
    }

    fn take(&self, octets: &[u8], policy: &AdmissionPolicy) -> Result<(), Rejection> {
        let AdmissionPolicy { pins, limits, .. } = policy;
        let sum = sha256(octets);
        let no = |code, reason| Rejection {
            sha256: Some(sum),
            code,
            reason,
        };
        let is_in_force = self.slot.is_in_force(&sum);
        if let Some(Err(why)) = pins.as_deref().map(|list| pins::check(list, &sum)) {
            // Taken off the list: whoever did that does not want it to be asked any more. A list that
            // cannot be read does not say so.
            let is_taken_off = is_in_force && matches!(why, PinError::NotListed);
            if is_taken_off && let Err(refusal) = self.slot.restore() {
                return Err(no(refusal.kind.code(), refusal.reason));
            }
            return Err(no(NOT_PINNED, why.to_string()));
        }
        if is_in_force {
            self.slot.accept();
            return Ok(());
        }
        tracing::info!(
            component = self.slot.name(),
            octets = octets.len(),
            sha256 = base16ct::lower::encode_string(&sum),
            "a component file is being compiled and checked"
        );
        let swap = || {
            Compiled::apart(octets, &super::COMPILE, limits)
                .and_then(|compiled| self.slot.swap(&compiled))
        };
        // This thread is the only one that looks after components.
        std::panic::catch_unwind(AssertUnwindSafe(swap))
            .unwrap_or_else(|_| {
                let why = "the host does not survive checking it";
                Err(Refusal::new(RefusalKind::Invalid, why))
            })
            .map_err(|refusal| no(refusal.kind.code(), refusal.reason))
    }
}

fn unreadable(reason: String) -> Rejection {
    Rejection {
        sha256: None,
        code: UNREADABLE,
        reason,
    }
}

/// What the kernel tells of the folder. Only a hint: not every file system tells, and a mount over the
/// folder is not told; the looks in between find what this misses.
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

    /// Until something happens in the folder, or the time is over.
    fn wait(&mut self, folder: &Path, pause: Duration) {
        let Some(watch) = &self.watch else {
            return std::thread::sleep(pause);
        };
        // Again each time: by now the path may be another folder. A second watch of the same one is
        // the first. Not when a file is created: it has to be written yet.
        let happens = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        let _looks_alone = inotify::add_watch(watch, folder, happens);
        let timeout = Timespec::try_from(pause).ok();
        let mut polled = [PollFd::new(watch, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut polled, timeout.as_ref()), Ok(1..)) {
            return;
        }
        std::thread::sleep(SETTLING);
        // Read, so that they do not count again. What they say does not matter.
        let mut events = [0_u8; 4096];
        while rustix::io::read(watch, &mut events).is_ok_and(|octets| octets > 0) {}
    }
}
