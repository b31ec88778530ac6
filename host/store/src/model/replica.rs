//! A process that uses the database.

use super::{Leased, Look, Message, Replica, Request, Shared};
use crate::clock_monitor::{Reading, Verdict};
use crate::rules;
use crate::{
    Accepted, Attempt, BacklogMax, BootMillis, Claim, Lease, MessageId, MessageState, NewRequest,
    Notification, NotificationLease, NotificationOutcome, NotificationState, Now, Outcome, Owner,
    Quota, Redelivery, RequestFilter, RequestId, RequestQuery, RequestView, Result, Slot, SlotEnd,
    Store, StoreError, StoreFuture, StoreStats, UnixMillis, Viewer,
};
use std::sync::PoisonError;

impl Replica {
    /// Reads the store's time and the limits on calls. Corrects the clock if it has jumped, as the
    /// PostgreSQL store does.
    fn look(&self) -> Look {
        let shared = &mut self.lock();
        let clock_monitor = &mut self
            .clock_monitor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if clock_monitor.is_new()
            && let Some(known) = shared.machines.get(&self.boot_id)
        {
            clock_monitor.recall(*known);
        }
        let boot = (self.boot_clock)();
        loop {
            let now = (self.clock)() + shared.shift_ms;
            let reading = Reading {
                before: boot,
                store_ms: now,
                after: boot,
                epoch: shared.epoch,
            };
            let verdict = clock_monitor.compare(reading);
            if let Verdict::Jumped { by_ms } = verdict {
                shared.shift_ms -= by_ms;
                shared.epoch += 1;
                let until = now - by_ms + self.quota.claim_ms();
                shared.held_until = shared.held_until.max(until);
                continue;
            }
            let wait_ms = clock_monitor.wait_ms(boot);
            if let Some(known) = clock_monitor.to_recall(boot) {
                shared.machines.insert(self.boot_id.clone(), known);
            }
            return Look {
                now,
                held_until: shared.held_until.max(now + wait_ms),
                is_certain: wait_ms == 0 && verdict == Verdict::Fine,
            };
        }
    }

    /// Adapts the database to the quota of this process.
    pub(super) fn join(&self) {
        let look = self.look();
        self.lock().join(self.quota, look.now);
    }

    /// Runs `act` at once, without interruption by other calls.
    fn at_once<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Shared, Quota, Look) -> Result<T>,
    ) -> StoreFuture<'static, T> {
        let look = self.look();
        let done = act(&mut self.lock(), self.quota, look);
        Box::pin(std::future::ready(done))
    }
}

impl Store for Replica {
    fn accept(&self, new: NewRequest, max: BacklogMax, now: Now) -> StoreFuture<'_, Accepted> {
        self.at_once(|shared, _, look| {
            let at = look.now;
            Ok(shared.accept(new, max, now.wall, at))
        })
    }

    fn request(
        &self,
        id: RequestId,
        viewer: Viewer,
        now: Now,
    ) -> StoreFuture<'_, Option<RequestView>> {
        self.at_once(|shared, _, look| {
            let at = look.now;
            let mut requests = shared.requests.values();
            let request = requests.find(|it| it.id == id && is_visible(it, &viewer));
            Ok(request.map(|request| shared.view(request, now.wall, at)))
        })
    }

    fn signature(&self, message: String) -> StoreFuture<'_, Option<String>> {
        let shared = self.lock();
        let known = shared.messages.values().find(|known| known.text == message);
        let signature = known.and_then(|known| match &known.state {
            MessageState::Signed(signature) => Some(signature.clone()),
            MessageState::Pending | MessageState::Failed(_) => None,
        });
        Box::pin(std::future::ready(Ok(signature)))
    }

    fn claim_attempt(&self, now: Now) -> StoreFuture<'_, Claim<Attempt>> {
        self.at_once(|shared, quota, look| {
            let at = look.now;
            let queues = shared.queues();
            let Some(turn) = rules::next_turn(&queues, &shared.last_owner, at) else {
                return Ok(rules::retry_after(None, at));
            };
            let call_at = rules::call_at(&shared.slots(), quota.calls, look.held_until);
            let call_at = call_at.map(|call_at| call_at.max(turn.at));
            let Some(slot) = shared.claim(call_at, false, quota, now, at) else {
                return Ok(rules::retry_after(call_at, at));
            };
            turn.owner.clone_into(&mut shared.last_owner);
            let token = shared.count();
            let message = shared.messages.get_mut(&turn.message);
            let message = message.expect("message should exist");
            message.lease = Leased {
                token: Some(token),
                until: Some(at + rules::attempt_lease_ms(quota)),
            };
            let of_it = |request: &&Request| request.message == turn.message;
            let first = shared.requests.values().find(of_it);
            Ok(Claim::Acquired(Attempt {
                lease: Lease {
                    message: MessageId(turn.message),
                    token,
                },
                slot,
                message: message.text.clone(),
                number: message.attempts + 1,
                created_at: message.created_at,
                trace: first.and_then(|request| request.trace.clone()),
            }))
        })
    }

    fn finish_attempt(
        &self,
        claimed: Attempt,
        end: SlotEnd,
        outcome: Outcome,
        answered: Vec<RequestId>,
        now: Now,
    ) -> StoreFuture<'_, ()> {
        self.at_once(|shared, quota, look| {
            let at = look.now;
            let id = claimed.lease.message.0;
            let message = shared.messages.get_mut(&id);
            let message = message
                .filter(|message| message.lease.token == Some(claimed.lease.token))
                .ok_or(StoreError::LeaseLost)?;
            message.lease = Leased::default();
            message.attempts += 1;
            match outcome {
                Outcome::Signed(signature) => message.state = MessageState::Signed(signature),
                Outcome::Failed(error) => message.state = MessageState::Failed(error),
                Outcome::Retry { after_ms } => message.due_at = rules::after(at, after_ms),
            }
            if message.state != MessageState::Pending {
                message.finished_at = Some(now.wall);
                shared.notify(id, &answered, now.wall, at);
            }
            shared.end_claim(&claimed.slot, end, quota, look);
            Ok(())
        })
    }

    fn claim_check(&self, checks_max: u32, now: Now) -> StoreFuture<'_, Claim<Slot>> {
        self.at_once(|shared, quota, look| {
            let at = look.now;
            let checks_max = (shared.backlog() > 0).then_some(checks_max);
            let slots = shared.slots();
            let call_at = rules::check_at(&slots, quota.calls, look.held_until, checks_max);
            Ok(match shared.claim(call_at, true, quota, now, at) {
                Some(slot) => Claim::Acquired(slot),
                None => rules::retry_after(call_at, at),
            })
        })
    }

    fn end_check(&self, slot: Slot, end: SlotEnd, _now: Now) -> StoreFuture<'_, ()> {
        self.at_once(|shared, quota, look| {
            shared.end_claim(&slot, end, quota, look);
            Ok(())
        })
    }

    fn hold_calls(&self, for_ms: u64, _now: Now) -> StoreFuture<'_, ()> {
        self.at_once(|shared, _, look| {
            let at = look.now;
            shared.held_until = shared.held_until.max(rules::after(at, for_ms));
            Ok(())
        })
    }

    fn claim_notifications(
        &self,
        max: u32,
        busy: Vec<String>,
        now: Now,
    ) -> StoreFuture<'_, Claim<Vec<Notification>>> {
        self.at_once(|shared, _, look| {
            let at = look.now;
            Ok(shared.claim_notifications(max, &busy, now.wall, at))
        })
    }

    fn finish_notification(
        &self,
        lease: NotificationLease,
        outcome: NotificationOutcome,
        now: Now,
    ) -> StoreFuture<'_, ()> {
        self.at_once(|shared, _, look| {
            let at = look.now;
            shared.finish_notification(&lease, outcome, now.wall, at)
        })
    }

    fn redeliver(&self, request: RequestId, now: Now) -> StoreFuture<'_, Redelivery> {
        self.at_once(|shared, _, look| Ok(shared.redeliver(&request, now.wall, look.now)))
    }

    fn list(&self, query: RequestQuery, now: Now) -> StoreFuture<'_, Option<Vec<RequestView>>> {
        self.at_once(|shared, _, look| {
            let at = look.now;
            let visible = shared.requests.iter();
            let visible = visible.filter(|(_, request)| is_visible(request, &query.viewer));
            let before = match &query.after {
                None => i64::MAX,
                Some(id) => match visible.clone().find(|(_, request)| request.id == *id) {
                    Some((number, _)) => *number,
                    None => return Ok(None),
                },
            };
            let young = visible.rev().filter(|(number, _)| **number < before);
            let views = young
                .map(|(_, request)| request)
                .map(|request| shared.view(request, now.wall, at));
            let parked = |view: &RequestView| {
                let notified = view.notification.as_ref();
                notified.is_some_and(|notified| notified.state == NotificationState::Parked)
            };
            let listed = views.filter(|view| match query.filter {
                RequestFilter::All => true,
                RequestFilter::Pending => view.state == MessageState::Pending,
                RequestFilter::Signed => matches!(view.state, MessageState::Signed(_)),
                RequestFilter::Failed => matches!(view.state, MessageState::Failed(_)),
                RequestFilter::Parked => parked(view),
            });
            Ok(Some(listed.take(query.max as usize).collect()))
        })
    }

    fn sweep(&self, retention_ms: u64, max: u32, now: Now) -> StoreFuture<'_, u64> {
        self.at_once(|shared, _, _| {
            let before = UnixMillis(now.wall.0.saturating_sub_unsigned(retention_ms));
            let done = shared.requests.iter();
            let done = done.filter_map(|(number, request)| Some((request.done_at?, *number)));
            let mut old: Vec<_> = done.filter(|(done_at, _)| *done_at < before).collect();
            old.sort_unstable();
            old.truncate(max as usize);
            for (_, number) in &old {
                shared.requests.remove(number);
            }
            let Shared {
                messages, requests, ..
            } = shared;
            messages.retain(|id, _| requests.values().any(|request| request.message == *id));
            Ok(old.len() as u64)
        })
    }

    fn stats(&self, _now: Now) -> StoreFuture<'_, StoreStats> {
        self.at_once(|shared, quota, look| {
            let at = look.now;
            let taken = shared.slots.values().filter(|slot| slot.free_at > at);
            let taken = u32::try_from(taken.count()).unwrap_or(u32::MAX);
            let since = shared.pending().map(|(_, message)| message.waits_since);
            Ok(StoreStats {
                backlog: shared.backlog(),
                oldest_age_ms: since
                    .min()
                    .map(|since| u64::try_from(at - since).unwrap_or(0)),
                notifications_pending: shared.notifications(NotificationState::Pending),
                notifications_parked: shared.notifications(NotificationState::Parked),
                slots_free: quota.calls.saturating_sub(taken),
                held_ms: u64::try_from(look.held_until - at).unwrap_or(0),
            })
        })
    }

    fn heartbeat(&self, _now: Now) -> StoreFuture<'_, ()> {
        self.at_once(|shared, _, look| {
            let at = look.now;
            for message in shared.messages.values_mut() {
                message.lease.expire(at);
            }
            for request in shared.requests.values_mut() {
                if let Some(notified) = &mut request.notification {
                    notified.lease.expire(at);
                }
            }
            Ok(())
        })
    }
}

impl Shared {
    fn accept(&mut self, new: NewRequest, max: BacklogMax, wall: UnixMillis, at: i64) -> Accepted {
        let known = self
            .messages
            .iter()
            .find(|(_, known)| known.text == new.message);
        let known = known.map(|(id, known)| (*id, known.state.clone(), known.finished_at));
        let (message, state, finished_at) = match known {
            Some(known) => known,
            None if self.is_owner_full(new.owner.as_ref(), max) => return Accepted::OwnerFull,
            None if self.backlog() >= max.messages => return Accepted::BacklogFull,
            None => (
                self.insert_message(new.message, new.owner.as_ref(), wall, at),
                MessageState::Pending,
                None,
            ),
        };
        // Later requests for a finished message receive the result at once. All of one owner share one request.
        let callback = new.callback.filter(|_| state == MessageState::Pending);
        let url = |of: &Option<crate::Callback>| of.as_ref().map(|callback| callback.url.clone());
        let same = self.requests.values_mut().find(|request| {
            request.message == message
                && request.owner == new.owner
                && url(&request.callback) == url(&callback)
        });
        let id = if let Some(same) = same {
            same.shared |= state == MessageState::Pending;
            same.id.clone()
        } else if state == MessageState::Pending && self.is_owner_full(new.owner.as_ref(), max) {
            return Accepted::OwnerFull;
        } else if state == MessageState::Pending
            && self.requests_of(new.owner.as_ref(), message) >= max.callers as usize
        {
            return Accepted::CallersFull;
        } else {
            if state == MessageState::Pending {
                self.join_queue(message, new.owner.as_ref());
            }
            let number = self.count();
            let request = Request {
                id: new.id.clone(),
                owner: new.owner,
                message,
                callback,
                trace: new.trace,
                created_at: wall,
                done_at: finished_at,
                shared: false,
                notification: None,
            };
            self.requests.insert(number, request);
            new.id
        };
        match state {
            MessageState::Pending => Accepted::Pending(id),
            MessageState::Signed(signature) => Accepted::Signed { id, signature },
            MessageState::Failed(error) => Accepted::Failed { id, error },
        }
    }

    fn is_owner_full(&self, owner: Option<&Owner>, max: BacklogMax) -> bool {
        let (Some(owner), Some(max)) = (owner, max.owned) else {
            return false;
        };
        let requests = self.requests.values();
        let waiting = requests.filter(|request| {
            request.owner.as_ref() == Some(owner)
                && self
                    .messages
                    .get(&request.message)
                    .is_some_and(|message| message.state == MessageState::Pending)
        });
        waiting.count() >= max as usize
    }

    fn requests_of(&self, owner: Option<&Owner>, message: i64) -> usize {
        let requests = self.requests.values();
        requests
            .filter(|request| request.message == message && request.owner.as_ref() == owner)
            .count()
    }

    fn insert_message(
        &mut self,
        text: String,
        owner: Option<&Owner>,
        wall: UnixMillis,
        at: i64,
    ) -> i64 {
        let id = self.count();
        let message = Message {
            text,
            owner: Owner::column(owner).to_owned(),
            state: MessageState::Pending,
            attempts: 0,
            created_at: wall,
            waits_since: at,
            due_at: at,
            finished_at: None,
            lease: Leased::default(),
        };
        self.messages.insert(id, message);
        id
    }

    /// Claims the slot that has been free for the longest time, if a call may be made now.
    fn claim(
        &mut self,
        call_at: Option<i64>,
        check: bool,
        quota: Quota,
        now: Now,
        at: i64,
    ) -> Option<Slot> {
        call_at.filter(|call_at| *call_at <= at)?;
        let number = rules::freest(&self.slots())?.number;
        let claim = self.count();
        let slot = self.slots.get_mut(&number)?;
        slot.free_at = at + quota.claim_ms();
        (slot.claim, slot.check) = (claim, check);
        Some(Slot {
            number,
            claim,
            send_before: BootMillis(now.boot.0 + i64::from(quota.call_ms)),
        })
    }

    fn end_claim(&mut self, ended: &Slot, end: SlotEnd, quota: Quota, look: Look) {
        let slot = self.slots.get_mut(&ended.number);
        if let Some(slot) = slot.filter(|slot| slot.claim == ended.claim)
            && end == SlotEnd::Settled
            && look.is_certain
        {
            slot.free_at = slot.free_at.min(look.now + quota.cooldown_ms());
        }
    }
}

fn is_visible(request: &Request, viewer: &Viewer) -> bool {
    viewer
        .owner()
        .is_none_or(|owner| request.owner.as_ref() == Some(owner))
}
