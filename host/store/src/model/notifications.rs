//! Notifications, and views of requests.

use super::{Leased, Notified, Request, Shared};
use crate::rules::{self, NOTIFICATION_LEASE_MS};
use crate::{
    Claim, MessageState, Notification, NotificationLease, NotificationOutcome, NotificationState,
    NotificationView, Redelivery, RequestId, RequestView, Result, StoreError, UnixMillis,
};

impl Shared {
    /// Creates the notifications for a finished message. Requests in `answered` that are not shared get
    /// none.
    pub(super) fn notify(
        &mut self,
        message: i64,
        answered: &[RequestId],
        wall: UnixMillis,
        at: i64,
    ) {
        let waiting = self.requests.values_mut();
        for request in waiting.filter(|request| request.message == message) {
            let answered = !request.shared && answered.contains(&request.id);
            if request.callback.is_none() || answered {
                request.done_at = Some(wall);
            } else {
                request.notification = Some(Notified {
                    state: NotificationState::Pending,
                    attempts: 0,
                    first_attempt_at: None,
                    due_at: at,
                    last_error: None,
                    lease: Leased::default(),
                });
            }
        }
    }

    pub(super) fn claim_notifications(
        &mut self,
        max: u32,
        busy: &[String],
        wall: UnixMillis,
        at: i64,
    ) -> Claim<Vec<Notification>> {
        let waiting = self.requests.iter().filter_map(|(number, request)| {
            let (notified, callback) = (request.notification.as_ref()?, request.callback.as_ref()?);
            let free =
                notified.state == NotificationState::Pending && notified.lease.until.is_none();
            let wanted = free && !busy.contains(&callback.host);
            wanted.then(|| (notified.due_at, callback.host.clone(), *number))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        let next_at = waiting.first().map(|(due_at, ..)| *due_at);
        waiting.retain(|(due_at, ..)| *due_at <= at);
        waiting.truncate(max as usize);
        if waiting.is_empty() {
            return rules::retry_after(next_at, at);
        }
        let claimed = waiting
            .iter()
            .map(|(.., number)| self.take(*number, wall, at));
        Claim::Acquired(claimed.collect())
    }

    fn take(&mut self, number: i64, wall: UnixMillis, at: i64) -> Notification {
        let token = self.count();
        let request = self
            .requests
            .get_mut(&number)
            .expect("request should exist");
        let message = &self.messages[&request.message];
        let notified = request
            .notification
            .as_mut()
            .expect("notification should exist");
        notified.lease = Leased {
            token: Some(token),
            until: Some(at + NOTIFICATION_LEASE_MS),
        };
        Notification {
            lease: NotificationLease {
                request: request.id.clone(),
                token,
            },
            callback: request
                .callback
                .clone()
                .expect("notification should have a callback"),
            message: message.text.clone(),
            outcome: match &message.state {
                MessageState::Signed(signature) => Ok(signature.clone()),
                MessageState::Failed(error) => Err(error.clone()),
                MessageState::Pending => {
                    unreachable!("a notification is created when its message is finished")
                }
            },
            finished_at: message.finished_at.expect("message should be finished"),
            number: notified.attempts + 1,
            first_attempt_at: *notified.first_attempt_at.get_or_insert(wall),
            trace: request.trace.clone(),
        }
    }

    pub(super) fn finish_notification(
        &mut self,
        lease: &NotificationLease,
        outcome: NotificationOutcome,
        wall: UnixMillis,
        at: i64,
    ) -> Result<()> {
        let request = self.of(&lease.request).ok_or(StoreError::LeaseLost)?;
        let message = request.message;
        let notified = request.notification.as_mut();
        let notified = notified
            .filter(|notified| notified.lease.token == Some(lease.token))
            .ok_or(StoreError::LeaseLost)?;
        notified.lease = Leased::default();
        notified.attempts += 1;
        match outcome {
            NotificationOutcome::Delivered => {
                notified.state = NotificationState::Delivered;
                notified.last_error = None;
                let finished_at = self.messages[&message].finished_at;
                self.of(&lease.request)
                    .expect("request should exist")
                    .done_at = finished_at;
            }
            NotificationOutcome::Retry { after_ms, why } => {
                notified.due_at = rules::after(at, after_ms);
                notified.last_error = Some(why);
            }
            NotificationOutcome::Parked { why } => {
                notified.state = NotificationState::Parked;
                notified.last_error = Some(why);
                request.done_at = Some(wall);
            }
        }
        Ok(())
    }

    pub(super) fn redeliver(&mut self, id: &RequestId, wall: UnixMillis, at: i64) -> Redelivery {
        let Some(request) = self.of(id) else {
            return Redelivery::NotFound;
        };
        let Some(notified) = &mut request.notification else {
            return Redelivery::NotFound;
        };
        let due_at = (notified.state == NotificationState::Pending).then_some(notified.due_at);
        let first_attempt_at = notified.first_attempt_at.map(|at| at.0);
        let events = [(due_at, at), (first_attempt_at, wall.0)];
        if let Some(too_soon) = rules::redelivery_too_soon(events) {
            return too_soon;
        }
        *notified = Notified {
            state: NotificationState::Pending,
            attempts: 0,
            first_attempt_at: None,
            due_at: at,
            last_error: notified.last_error.take(),
            lease: Leased::default(),
        };
        request.done_at = None;
        Redelivery::Due
    }

    pub(super) fn notifications(&self, state: NotificationState) -> u64 {
        let notified = self
            .requests
            .values()
            .filter_map(|request| request.notification.as_ref());
        notified.filter(|notified| notified.state == state).count() as u64
    }

    pub(super) fn view(&self, request: &Request, wall: UnixMillis, at: i64) -> RequestView {
        let message = &self.messages[&request.message];
        let awaited = message.state == MessageState::Pending && request.callback.is_some();
        let planned = NotificationView {
            state: NotificationState::Pending,
            attempts: 0,
            last_error: None,
            next_attempt_at: None,
        };
        let notified = request
            .notification
            .as_ref()
            .map(|notified| NotificationView {
                state: notified.state,
                attempts: notified.attempts,
                last_error: notified.last_error.clone(),
                next_attempt_at: (notified.state == NotificationState::Pending)
                    .then(|| UnixMillis(wall.0.saturating_add(notified.due_at - at))),
            });
        RequestView {
            id: request.id.clone(),
            owner: request.owner.clone(),
            message: message.text.clone(),
            state: message.state.clone(),
            created_at: request.created_at,
            attempts: message.attempts,
            notification: notified.or(awaited.then_some(planned)),
        }
    }

    fn of(&mut self, id: &RequestId) -> Option<&mut Request> {
        self.requests.values_mut().find(|request| request.id == *id)
    }
}
