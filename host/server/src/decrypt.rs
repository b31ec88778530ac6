//! `POST /decryptMessage`.

use crate::components::{ComponentSource, Slot, SlotContext};
use crate::config::DecryptSettings;
use crate::http::{Answer, answer, wanted};
use crate::problem::{Limited, Problem};
use crate::room::{RequestBody, Room};
use bulkhead_envelope::{Request, Wiped};
use bulkhead_kdf::Engine;
use bulkhead_sandbox::{
    CancelFlag, ComponentMetrics, DecryptLimits, Decryptor, Description, GuestComponent as _,
    InstanceLimits, KdfLimits, KdfOffload, OpenRequest, Pool, Refusal, Sandbox,
};
use hyper::{HeaderMap, StatusCode};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The decrypt capability: the component, its threads, its limits.
pub(crate) struct Decrypt {
    pub(crate) slot: Arc<Slot<Decryptor>>,
    pool: Pool,
    keys: Arc<Engine>,
    answers: Room,
    settings: DecryptSettings,
}

const QUEUE: Limited = Limited {
    what: "too many messages wait for a sandbox",
    flag: "--decrypt-queue-max",
    variable: "BULKHEAD_DECRYPT_QUEUE_MAX",
};

const QUEUE_TIME: Limited = Limited {
    what: "no sandbox was free for the message in time",
    flag: "--decrypt-queue-timeout",
    variable: "BULKHEAD_DECRYPT_QUEUE_TIMEOUT",
};

/// The form of the answer.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Json,
    Octets,
}

impl Decrypt {
    /// Loads the component that ships with the binary and starts its threads.
    /// Answers take room in `answers` until they are sent.
    pub(crate) fn new(
        sandbox: &Sandbox,
        settings: &DecryptSettings,
        keys: Engine,
        answers: Room,
        context: &SlotContext<'_>,
    ) -> Result<Self, String> {
        let metrics = context.metrics;
        let counted = metrics.component("decrypt");
        let make = maker(sandbox.clone(), settings, counted);
        let slot = Slot::new(bulkhead_artifacts::DECRYPT, context, make)?;
        let pool = Pool::new(
            "decrypt",
            settings.instances().into(),
            settings.workers().into(),
            settings.decrypt_queue_max as usize,
        )
        .map_err(|error| format!("cannot start worker threads: {error}"))?;
        metrics.watch("decrypt", pool.waiting());
        Ok(Self {
            slot: Arc::new(slot),
            pool,
            keys: Arc::new(keys),
            answers,
            settings: settings.clone(),
        })
    }

    /// The form the client wants most; JSON where it does not care.
    pub(crate) fn form(headers: &HeaderMap) -> Result<Form, Problem> {
        let json = wanted(headers, "application/json");
        let octets = wanted(headers, "application/octet-stream");
        match (json, octets) {
            (0, 0) => Err(Problem::not_acceptable(
                "application/json, application/octet-stream",
            )),
            (json, octets) if octets > json => Ok(Form::Octets),
            _ => Ok(Form::Json),
        }
    }

    /// Opens the message in `body` on a worker thread, and makes the answer there too: parsing and
    /// writing megabytes of JSON is no work for an I/O thread either.
    pub(crate) async fn handle(&self, body: RequestBody, form: Form) -> Result<Answer, Problem> {
        let (sender, receiver) = oneshot::channel();
        let (start, started) = oneshot::channel();
        let cancel = CancelFlag::default();
        let on_thread = cancel.clone();
        let in_force = self.slot.current();
        let begun = Arc::clone(&in_force);
        let (settings, answers) = (self.settings.clone(), self.answers.clone());
        let keys = Arc::clone(&self.keys);
        self.pool
            .submit(move |permit| {
                // Nobody waits any more: the client hung up, or was refused.
                if on_thread.is_cancelled() || start.send(()).is_err() {
                    return;
                }
                let kdf_offload = KdfOffload {
                    engine: keys,
                    permit: permit.clone(),
                };
                let result = open(&begun.component, &settings, &body, on_thread, kdf_offload)
                    .and_then(|plaintext| packed(plaintext, &answers, form));
                let _gone = sender.send(result);
            })
            .map_err(|_| Problem::overloaded(QUEUE, self.retry_after()))?;
        // Dropped with this future when the client hangs up.
        let _on_hang_up = CancelOnDrop(cancel);
        if tokio::time::timeout(self.settings.queue_timeout, started)
            .await
            .is_err()
        {
            return Err(Problem::overloaded(QUEUE_TIME, self.retry_after()));
        }
        let opened = receiver
            .await
            .unwrap_or_else(|_| Err(Problem::internal("the job for the message panicked")));
        opened.map(|answer| in_force.attributed(answer))
    }

    /// Seconds until what waits has probably been worked off.
    fn retry_after(&self) -> u64 {
        retry_after(&self.keys, self.pool.waiting().depth())
    }
}

/// Seconds until the keys that are asked for are derived, and those of `more` messages. Most of a
/// message's time goes there.
fn retry_after(keys: &Engine, more: usize) -> u64 {
    let time = keys.clears_in(more);
    (time.as_secs() + 1).min(RETRY_AFTER_MAX)
}

/// By then much may have changed.
const RETRY_AFTER_MAX: u64 = 60;

/// What makes a component ready to open messages.
pub(crate) fn maker(
    sandbox: Sandbox,
    settings: &DecryptSettings,
    metrics: ComponentMetrics,
) -> impl Fn(ComponentSource<'_>) -> Result<(Decryptor, Description), Refusal> + Send + Sync + 'static
{
    let limits = InstanceLimits {
        memory_octets: settings.guest_memory_octets,
        time: settings.timeout,
    };
    move |source| {
        let loaded = source.load(&sandbox)?;
        let decryptor = Decryptor::new(&sandbox, &loaded, limits, metrics.clone())?;
        let description = source.admit(&decryptor)?;
        Ok((decryptor, description))
    }
}

struct CancelOnDrop(CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn open(
    decryptor: &Decryptor,
    settings: &DecryptSettings,
    body: &[u8],
    cancel: CancelFlag,
    kdf_offload: KdfOffload,
) -> Result<Wiped, Problem> {
    let Request {
        passphrase,
        message,
    } = Request::parse(body)?;
    let limits = DecryptLimits {
        plaintext_octets: settings.plaintext_octets as u64,
        compression_layers: settings.compression_layers_max,
        compression_ratio: settings.compression_ratio_max,
        session_key_packets: settings.session_keys_max,
        armor_header_octets: u32::try_from(settings.armor_header_octets).unwrap_or(u32::MAX),
    };
    let kdf_limits = KdfLimits {
        s2k_bytes: settings.s2k_octets as u64,
        argon2_memory_kib: settings.argon2_memory_octets as u64 / 1024,
        argon2_passes: settings.argon2_passes_max.into(),
    };
    let keys = Arc::clone(&kdf_offload.engine);
    decryptor
        .open(OpenRequest {
            message: message.as_bytes(),
            passphrase: &passphrase,
            limits,
            kdf_limits,
            cancel,
            kdf_offload: Some(kdf_offload),
        })
        .map_err(|error| Problem::from_open(error, settings, retry_after(&keys, 0)))
}

/// The answer with the plaintext.
fn packed(plaintext: Wiped, answers: &Room, form: Form) -> Result<Answer, Problem> {
    match form {
        Form::Octets => {
            let octets = answers.answer(plaintext)?;
            Ok(answer(StatusCode::OK, "application/octet-stream", octets))
        }
        Form::Json => {
            let text = std::str::from_utf8(&plaintext).map_err(|_| Problem::not_text())?;
            let octets = answers.answer(bulkhead_envelope::decrypted_response(text))?;
            Ok(answer(StatusCode::OK, "application/json", octets))
        }
    }
}
