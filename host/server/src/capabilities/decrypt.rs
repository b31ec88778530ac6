//! `POST /decryptMessage`.

mod kdf;
mod settings;

use super::{Capability, CapabilityStatus, Context, Definition, StartError};
use crate::access::{Caller, KdfAllowance};
use crate::components::{ActiveComponent, HotSwap, Make};
use crate::config::http::HttpSettings;
use crate::process::allocator;
use bulkhead_envelope::Request;
use bulkhead_http::{
    Call, LimitExceeded, MemoryBudget, Problem, ProblemBody, RequestBody, RequestFacts, Response,
    expect_json, negotiate, response, setting,
};
use bulkhead_kdf::Engine;
use bulkhead_sandbox::{
    CallerId, CancelFlag, Decryptor, Fault, InstanceLimits, KdfOffload, OpenError, OpenRequest,
    Opened, Pool,
};
use hyper::StatusCode;
use kdf::KdfSettings;
use std::sync::Arc;
use tokio::sync::oneshot;

pub(crate) use settings::DecryptSettings as Settings;

/// Maximum value of `Retry-After`, in seconds. Estimates further ahead are not reliable.
const RETRY_AFTER_MAX: u64 = 60;

const QUEUE_FULL: LimitExceeded = LimitExceeded {
    reason: "too many messages wait for a sandbox",
    setting: setting!(Settings, decrypt_queue_max),
};
const QUEUE_TIME_OVER: LimitExceeded = LimitExceeded {
    reason: "no sandbox became free for the message in time",
    setting: setting!(Settings, decrypt_queue_timeout),
};
const KEYS_WAIT: LimitExceeded = LimitExceeded {
    reason: "the key-derivation queue is full",
    setting: setting!(KdfSettings, kdf_queue_max),
};
const RESPONSES_WAIT: LimitExceeded = LimitExceeded {
    reason: "too many responses wait for their clients to receive them",
    setting: setting!(HttpSettings, responses_max),
};

pub(crate) const DEFINITION: Definition = Definition {
    artifact: bulkhead_artifacts::DECRYPT,
    contradictions: |settings, _| settings.decrypt.contradictions(),
    inspect: |context| context.settings.decrypt.inspect(),
    admit: |context, source| Ok(maker(context)?(source)?.1),
};

/// The decrypt capability: the component, its threads and its limits.
pub(crate) struct State {
    component: Arc<ActiveComponent<Decryptor>>,
    pool: Pool,
    keys: Arc<Engine>,
    responses: MemoryBudget,
    settings: Settings,
}

/// The form of the response.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Bytes,
}

impl State {
    /// Loads the component and starts its threads.
    ///
    /// # Errors
    /// [`StartError`] if the sandbox, the component or a thread cannot be set up.
    pub(crate) fn start(context: &Context<'_>) -> Result<Self, StartError> {
        let settings = &context.settings.decrypt;
        let component = context.component(DEFINITION.artifact, maker(context)?)?;
        let keys = Engine::new(settings.kdf.setup(), context.metrics.kdf.clone())?;
        let (instances, workers) = (settings.instances(), settings.workers());
        let pool = context.pool("decrypt", instances, workers, settings.decrypt_queue_max)?;
        let responses_max = context.http.responses_max.as_usize();
        Ok(Self {
            component,
            pool,
            keys: Arc::new(keys),
            responses: MemoryBudget::new(responses_max, RESPONSES_WAIT, allocator::footprint),
            settings: settings.clone(),
        })
    }

    /// Handles `POST /decryptMessage`. Returns the plaintext as JSON or as bytes. Dropping the future
    /// cancels the decryption. Callers with different names have equal shares of the queue and of key derivation.
    pub(crate) async fn open(&self, caller: Caller, call: Call<'_>) -> Result<Response, Problem> {
        let allowance = caller.kdf_allowance();
        let caller = caller.id();
        let form = expect_json(call.headers()).and_then(|()| {
            negotiate(
                call.headers(),
                &["application/json", "application/octet-stream"],
            )
        });
        let form = form.map(|offer| match offer {
            0 => Form::Json,
            _ => Form::Bytes,
        });
        let form = form.and_then(|form| allowance.check().map(|()| form));
        let facts = call.facts;
        let (form, body) = call.admit(form).await?;
        self.open_on_worker(caller, body, form, allowance, facts)
            .await
    }

    /// Decrypts the message on a worker. The worker also makes the response, because reading and writing
    /// megabytes of JSON would block an I/O thread.
    async fn open_on_worker(
        &self,
        caller: CallerId,
        body: RequestBody,
        form: Form,
        allowance: KdfAllowance,
        facts: &RequestFacts,
    ) -> Result<Response, Problem> {
        let (sender, receiver) = oneshot::channel();
        let (start, started) = oneshot::channel();
        let cancel = CancelFlag::default();
        let on_thread = cancel.clone();
        let active = self.component.current();
        facts.set_code_sha256(active.sha256());
        let for_worker = Arc::clone(&active);
        let (settings, responses) = (self.settings.clone(), self.responses.clone());
        let keys = Arc::clone(&self.keys);
        self.pool
            .submit(caller, move |permit| {
                // The client closed the connection, or the queue time-out has passed.
                if on_thread.is_cancelled() || start.send(()).is_err() {
                    return;
                }
                let kdf_offload = KdfOffload {
                    engine: keys,
                    caller,
                    permit: permit.clone(),
                };
                let result = open(
                    &for_worker.component,
                    &settings,
                    &body,
                    on_thread,
                    kdf_offload,
                    &allowance,
                )
                .and_then(|opened| packed(opened, &responses, form));
                let _gone = sender.send(result);
            })
            .map_err(|_| Problem::overloaded(QUEUE_FULL, self.retry_after()))?;
        // The guard is dropped with this future when the client closes the connection.
        let _on_drop = CancelOnDrop(cancel);
        match tokio::time::timeout(self.settings.decrypt_queue_timeout, started).await {
            Ok(Ok(())) => {}
            // The job was removed from the full queue to make room for another caller.
            Ok(Err(_)) => return Err(Problem::overloaded(QUEUE_FULL, self.retry_after())),
            Err(_) => return Err(Problem::overloaded(QUEUE_TIME_OVER, self.retry_after())),
        }
        let opened = receiver
            .await
            .unwrap_or_else(|_| Err(Problem::internal("the job for the message panicked")));
        opened.map(|response| active.attributed(response))
    }

    /// Returns the estimated number of seconds until the waiting messages are decrypted.
    fn retry_after(&self) -> u64 {
        retry_after(&self.keys, self.pool.waiting().depth())
    }
}

impl Capability for State {
    fn component(&self) -> Option<Arc<dyn HotSwap>> {
        Some(Arc::clone(&self.component) as _)
    }

    fn status(&self) -> CapabilityStatus {
        CapabilityStatus::Ready
    }
}

/// Returns the estimated number of seconds until the waiting keys and those of `more` messages are derived.
/// Key derivation takes most of the time of a message.
fn retry_after(keys: &Engine, more: usize) -> u64 {
    let time = keys.clears_in(more);
    (time.as_secs() + 1).min(RETRY_AFTER_MAX)
}

/// Returns a function that prepares a component for decryption.
fn maker(context: &Context<'_>) -> Result<Make<Decryptor>, StartError> {
    let settings = &context.settings.decrypt;
    let limits = InstanceLimits {
        memory_bytes: settings.guest_memory_max.as_usize(),
        time: settings.decrypt_timeout,
    };
    context.maker(
        DEFINITION.artifact.name,
        settings.instances().into(),
        limits,
    )
}

struct CancelOnDrop(CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn open(
    decryptor: &Decryptor,
    settings: &Settings,
    body: &[u8],
    cancel: CancelFlag,
    kdf_offload: KdfOffload,
    allowance: &KdfAllowance,
) -> Result<Opened, Problem> {
    let Request {
        passphrase,
        message,
    } = Request::parse(body)?;
    let keys = Arc::clone(&kdf_offload.engine);
    let charged = allowance.clone();
    decryptor
        .open(OpenRequest {
            message: message.as_bytes(),
            passphrase: &passphrase,
            limits: settings.message_limits(),
            kdf_limits: settings.key_limits(),
            cancel,
            kdf_offload: Some(kdf_offload),
            kdf_charge: Some(Box::new(move |bytes| charged.take(bytes))),
        })
        .map_err(|error| problem(error, settings, retry_after(&keys, 0), allowance))
}

/// Makes the response with the plaintext.
fn packed(opened: Opened, responses: &MemoryBudget, form: Form) -> Result<Response, Problem> {
    let Opened {
        plaintext,
        is_openpgp,
    } = opened;
    let (content_type, body) = match form {
        Form::Bytes => ("application/octet-stream", plaintext),
        Form::Json => {
            let text = std::str::from_utf8(&plaintext).map_err(|_| {
                ProblemBody::not_text(
                    "Request the bytes with the header Accept: application/octet-stream.",
                    is_openpgp,
                )
            })?;
            (
                "application/json",
                bulkhead_envelope::decrypted_response(text),
            )
        }
    };
    Ok(response(
        StatusCode::OK,
        content_type,
        responses.hold(body)?,
    ))
}

/// Returns the problem document for an error of the component. `retry_after` is the estimated wait for the
/// key-derivation queue, in seconds.
fn problem(
    error: OpenError,
    settings: &Settings,
    retry_after: u64,
    allowance: &KdfAllowance,
) -> Problem {
    let body = match error {
        OpenError::Rejected(rejection) => ProblemBody::from(rejection),
        OpenError::Fault(Fault::Deadline | Fault::Cancelled) => ProblemBody::too_costly(format!(
            "The message takes longer than the maximum time of {} s. Operators raise {}.",
            settings.decrypt_timeout.as_secs_f64(),
            setting!(Settings, decrypt_timeout)
        )),
        OpenError::Fault(Fault::Memory) => ProblemBody::too_costly(format!(
            "The message needs more than the maximum memory of {} bytes. Operators raise {}.",
            settings.guest_memory_max.bytes(),
            setting!(Settings, guest_memory_max)
        )),
        OpenError::Fault(Fault::KeysOverloaded) => {
            return Problem::overloaded(KEYS_WAIT, retry_after);
        }
        OpenError::Fault(Fault::KeysCharged) => return allowance.used_up(),
        OpenError::Fault(Fault::Trap(trap)) => {
            return Problem::internal(format!("the decrypt component trapped: {trap}"));
        }
    };
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn every_fault_of_an_instance_has_a_response() {
        let settings = Defaults::parse_from(["test"]).settings;
        for (fault, status, code) in [
            (Fault::Deadline, 422, "too_costly"),
            (Fault::Cancelled, 422, "too_costly"),
            (Fault::Memory, 422, "too_costly"),
            (Fault::KeysOverloaded, 503, "overloaded"),
            // A caller without a key has no limit.
            (Fault::KeysCharged, 500, "internal"),
            (Fault::Trap("unreachable".into()), 500, "internal"),
        ] {
            let allowance = Caller::UNKNOWN.kdf_allowance();
            let problem = problem(OpenError::Fault(fault), &settings, 1, &allowance);
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code));
            // Only the log contains the text of the trap.
            assert_eq!(problem.fault().is_some(), status == 500);
            assert!(!problem.detail().contains("unreachable"));
        }
    }
}
