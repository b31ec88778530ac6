//! One run: a plan derived from a seed, its execution, and checks of the logs of the upstream and of the
//! receivers.

use crate::clockwork::Executor;
use crate::faulty::Faulty;
use crate::process::{Faults, Process, START_WALL_MS, Shared, Surroundings, lock};
use crate::receivers::{Manner, Receivers};
use crate::upstream::{Upstream, Weather, max_in_window};
use crate::verdict::{self, Promise};
use bulkhead_relay::{
    Environment as _, Point, Relay, RelayMetrics, Settings, SignOutcome, WebhookSecrets,
};
use bulkhead_sandbox::SigningComponent;
use bulkhead_store::model::Model;
use bulkhead_store::{BacklogMax, BootMillis, Callback, NewRequest, Owner, Quota, RequestId};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

mod waiting;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Time for which callers wait.
const CALLER_WAIT_MS_MAX: i64 = 1500;

pub(crate) const QUOTA: Quota = Quota {
    calls: 10,
    window_ms: 60_000,
    call_ms: 10_000,
    margin_ms: 1000,
};

/// A planned event.
#[derive(Debug, Clone)]
enum Event {
    Ask {
        message: String,
        host: Option<String>,
        owner: Option<Owner>,
    },
    Kill {
        replica: usize,
        dies_at: Option<(Point, u32)>,
    },
    StepWall {
        replica: usize,
        ms: i64,
    },
    StepDatabase {
        ms: i64,
    },
    /// All processes die, the database's clock steps, and new processes start on unknown machines.
    Disaster {
        ms: i64,
    },
    Weather(Weather),
    Receiver {
        host: String,
        manner: Manner,
    },
}

pub(crate) struct Run {
    executor: Executor,
    chance: ChaCha8Rng,
    shared: Arc<Shared>,
    model: Model,
    database_ahead_ms: Arc<AtomicI64>,
    component: Arc<SigningComponent>,
    settings: Settings,
    replicas: Vec<Replica>,
    born: u64,
    /// Number of the first machine.
    machines: usize,
    promises: Arc<Mutex<Vec<Promise>>>,
    deaths: Vec<(u64, i64)>,
}

struct Replica {
    process: Arc<Process>,
    relay: Arc<Relay<Surroundings>>,
}

impl Run {
    fn new(
        seed: u64,
        faults: Faults,
        replicas: usize,
        poll_ms: u64,
        component: &Arc<SigningComponent>,
    ) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut fork = || ChaCha8Rng::seed_from_u64(chance.r#gen());
        let executor = Executor::new(fork());
        let upstream = Upstream::new(fork());
        let shared = Arc::new(Shared {
            clockwork: executor.clockwork.clone(),
            upstream: Mutex::new(upstream),
            receivers: Mutex::new(Receivers::default()),
            faults,
            calm: AtomicBool::new(false),
            margin_ms: QUOTA.margin_ms.into(),
            doomed: Mutex::new(Vec::new()),
        });
        let database_ahead_ms = Arc::new(AtomicI64::new(0));
        let (clockwork, ahead) = (executor.clockwork.clone(), Arc::clone(&database_ahead_ms));
        let model = Model::new(QUOTA, move || {
            START_WALL_MS + clockwork.now_ms() + ahead.load(Ordering::Relaxed)
        });
        let mut run = Self {
            executor,
            chance,
            shared,
            model,
            database_ahead_ms,
            component: Arc::clone(component),
            settings: Settings {
                quota: QUOTA,
                checks_max: 2,
                backlog_max: BacklogMax {
                    messages: 10_000,
                    callers: 100,
                    owned: None,
                },
                public_key: None,
                webhook_secrets: WebhookSecrets::default(),
                webhook_ms: 15_000,
                webhooks_max: 64,
                webhooks_per_host_max: 4,
                retention_ms: 400 * 24 * 60 * 60 * 1000,
                poll_ms,
            },
            replicas: Vec::new(),
            born: 0,
            machines: 0,
            promises: Arc::default(),
            deaths: Vec::new(),
        };
        for machine in 0..replicas {
            let replica = run.birth(machine, None);
            run.replicas.push(replica);
        }
        run
    }

    /// Starts a process on a machine.
    fn birth(&mut self, machine: usize, dies_at: Option<(Point, u32)>) -> Replica {
        self.born += 1;
        let chance = ChaCha8Rng::seed_from_u64(self.chance.r#gen());
        let machine = self.machines + machine;
        // The machines started at different times.
        let boot_at_ms =
            -1_000_000 * i64::try_from(machine + 1).expect("number of machines should be small");
        let shared = Arc::clone(&self.shared);
        let process = Arc::new(Process::new(self.born, shared, chance, boot_at_ms, dies_at));
        let clock = Arc::clone(&process);
        let store = self.model.replica(&format!("machine {machine}"), move || {
            BootMillis(clock.boot_ms())
        });
        let store = Faulty {
            inner: Arc::new(store),
            process: Arc::clone(&process),
        };
        let relay = Relay::start(
            Arc::new(Surroundings(Arc::clone(&process))),
            Arc::new(store),
            Arc::clone(&self.component),
            self.settings.clone(),
            RelayMetrics::unregistered(),
        );
        Replica { process, relay }
    }

    fn kill(&mut self, replica: usize, next_dies_at: Option<(Point, u32)>) {
        let process = &self.replicas[replica].process;
        process.die();
        let owner = process.owner();
        self.deaths
            .push((process.number, self.shared.clockwork.now_ms()));
        self.executor.kill(owner);
        self.replicas[replica] = self.birth(replica, next_dies_at);
    }

    /// Lets time pass, and replaces the processes that die meanwhile.
    fn pass_until(&mut self, at_ms: i64) {
        loop {
            let shared = Arc::clone(&self.shared);
            self.executor
                .run_until(at_ms, || !lock(&shared.doomed).is_empty());
            let doomed = std::mem::take(&mut *lock(&self.shared.doomed));
            if doomed.is_empty() {
                return;
            }
            for number in doomed {
                let same = |replica: &Replica| replica.process.number == number;
                if let Some(replica) = self.replicas.iter().position(same) {
                    self.kill(replica, None);
                }
            }
        }
    }

    fn carry_out(&mut self, event: Event) {
        let count = self.replicas.len();
        match event {
            Event::Ask {
                message,
                host,
                owner,
            } => self.ask(message, host, owner),
            Event::Kill { replica, dies_at } => self.kill(replica % count, dies_at),
            Event::StepWall { replica, ms } => self.replicas[replica % count].process.step_wall(ms),
            Event::StepDatabase { ms } => {
                self.database_ahead_ms.fetch_add(ms, Ordering::Relaxed);
            }
            Event::Disaster { ms } => {
                self.machines += 100;
                self.database_ahead_ms.fetch_add(ms, Ordering::Relaxed);
                for replica in 0..count {
                    self.kill(replica, None);
                }
            }
            Event::Weather(weather) => lock(&self.shared.upstream).weather = weather,
            Event::Receiver { host, manner } => lock(&self.shared.receivers).set(&host, manner),
        }
    }

    fn ask(&mut self, message: String, host: Option<String>, owner: Option<Owner>) {
        let replica = &self.replicas[self.chance.gen_range(0..self.replicas.len())];
        let callback = host.map(|host| Callback {
            url: format!("http://{host}/{}", self.chance.gen_range(0..2)),
            host,
        });
        let wall = Surroundings(Arc::clone(&replica.process)).now().wall;
        let new = NewRequest {
            id: RequestId::new(wall, self.chance.r#gen()),
            owner: owner.clone(),
            message: message.clone(),
            callback: callback.clone(),
            trace: None,
        };
        let (relay, process) = (Arc::clone(&replica.relay), Arc::clone(&replica.process));
        let (promises, shared) = (Arc::clone(&self.promises), Arc::clone(&self.shared));
        let task = async move {
            let start_ms = shared.clockwork.now_ms();
            let until = BootMillis(process.boot_ms() + CALLER_WAIT_MS_MAX);
            let response = relay.sign(new, None, until).await;
            let now_ms = shared.clockwork.now_ms();
            assert!(
                now_ms - start_ms <= CALLER_WAIT_MS_MAX,
                "a caller waited for {} ms",
                now_ms - start_ms
            );
            match response {
                Ok(SignOutcome::Pending { id, .. }) => lock(&promises).push(Promise {
                    at_ms: now_ms,
                    id,
                    owner,
                    message,
                    callback: callback.map(|callback| callback.url),
                }),
                Ok(SignOutcome::Signed { signature, .. }) => {
                    assert_eq!(signature, crate::upstream::signature(&message), "{message}");
                }
                Ok(SignOutcome::Rejected { .. }) => assert!(message.starts_with("refused")),
                Ok(SignOutcome::OwnerFull { .. }) => panic!("owners have no limit"),
                Err(_) => {}
            }
        };
        let owner = replica.process.owner();
        self.shared.clockwork.spawn(owner, Box::pin(task));
    }

    fn unfinished(&self) -> Vec<Promise> {
        let receivers = lock(&self.shared.receivers);
        let promises = lock(&self.promises);
        let open = promises
            .iter()
            .filter(|promise| !verdict::kept(promise, &receivers.deliveries));
        open.cloned().collect()
    }

    fn check_quota(&self) {
        let upstream = lock(&self.shared.upstream);
        let max = max_in_window(&upstream.arrivals, QUOTA.window_ms.into());
        assert!(max <= QUOTA.calls as usize, "{max} arrivals in a window");
    }
}

/// Injects faults of all kinds. All promises must be kept nevertheless.
pub(crate) fn stormy(seed: u64, component: &Arc<SigningComponent>) {
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let mut probability = |max: f64| {
        let value = chance.gen_range(0.0..max);
        if chance.gen_bool(0.5) { value } else { 0.0 }
    };
    let faults = Faults {
        question_lost: probability(0.1),
        answer_lost: probability(0.1),
        store_slow: probability(0.05),
        call_lost: probability(0.2),
        reply_lost: probability(0.2),
        call_late: probability(0.3),
        stall: probability(0.2),
    };
    let replicas = chance.gen_range(1..=5);
    let mut run = Run::new(seed, faults, replicas, 1000, component);
    let storm_ms = chance.gen_range(5..40) * MINUTE_MS;
    let mut events = plan(&mut chance, storm_ms);
    events.sort_by_key(|(at_ms, _)| *at_ms);
    for (at_ms, event) in events {
        run.pass_until(at_ms);
        run.carry_out(event);
    }
    run.pass_until(storm_ms);
    run.shared.calm.store(true, Ordering::Relaxed);
    lock(&run.shared.upstream).weather = Weather::Fair;
    lock(&run.shared.receivers).all_take();
    // The next attempt to deliver a notification may be half an hour away. Hourly attempts have a jitter.
    let mut waited_ms = 0;
    let messages =
        i64::try_from(lock(&run.promises).len()).expect("number of promises should be small");
    let max_ms = 3 * 60 * MINUTE_MS + 30_000 * messages;
    while !run.unfinished().is_empty() {
        assert!(
            waited_ms < max_ms,
            "promises not kept: {:?}",
            run.unfinished()
        );
        waited_ms += 10 * MINUTE_MS;
        let at_ms = run.shared.clockwork.now_ms() + 10 * MINUTE_MS;
        run.pass_until(at_ms);
    }
    run.check_quota();
    verdict::check_owners(&lock(&run.promises));
    let receivers = lock(&run.shared.receivers);
    verdict::check_deliveries(&receivers.deliveries, &run.deaths);
}

fn plan(chance: &mut ChaCha8Rng, storm_ms: i64) -> Vec<(i64, Event)> {
    let mut events = Vec::new();
    let hosts = ["a", "b", "c", "d"];
    let names = ["ci", "shop"];
    let messages = chance.gen_range(10..120);
    let burst = chance.gen_bool(0.3);
    for number in 0..messages {
        let at_ms = chance.gen_range(0..if burst { MINUTE_MS } else { storm_ms });
        // Several callers request some of the messages.
        let number = if chance.gen_bool(0.2) {
            number / 2
        } else {
            number
        };
        let kind = if chance.gen_bool(0.05) {
            "refused"
        } else {
            "message"
        };
        let host = chance.gen_range(0..=hosts.len());
        let owner = names.get(chance.gen_range(0..=names.len()));
        events.push((
            at_ms,
            Event::Ask {
                message: format!("{kind}{number}"),
                host: hosts.get(host).map(ToString::to_string),
                owner: owner.map(|name| Owner::new(name)),
            },
        ));
    }
    let mut some = |max: u32, chance: &mut ChaCha8Rng, make: &dyn Fn(&mut ChaCha8Rng) -> Event| {
        for _ in 0..chance.gen_range(0..=max) {
            let at_ms = chance.gen_range(0..storm_ms);
            let event = make(chance);
            events.push((at_ms, event));
        }
    };
    some(8, chance, &|chance| Event::Kill {
        replica: chance.gen_range(0..5),
        dies_at: chance.gen_bool(0.5).then(|| {
            let (point, _) = Point::ALL[chance.gen_range(0..Point::ALL.len())];
            (point, chance.gen_range(0..5))
        }),
    });
    some(3, chance, &|chance| Event::StepWall {
        replica: chance.gen_range(0..5),
        ms: chance.gen_range(-60..=60) * MINUTE_MS,
    });
    some(2, chance, &|chance| Event::StepDatabase {
        ms: chance.gen_range(-60..=60) * MINUTE_MS,
    });
    some(1, chance, &|chance| Event::Disaster {
        ms: chance.gen_range(-60..=60) * MINUTE_MS,
    });
    some(4, chance, &|chance| {
        let weathers = [
            Weather::Fair,
            Weather::Hangs,
            Weather::Resets,
            Weather::Garbage,
            Weather::WrongKey,
            Weather::TooMany,
            Weather::Fair,
        ];
        Event::Weather(weathers[chance.gen_range(0..weathers.len())])
    });
    some(6, chance, &|chance| {
        let manners = [
            Manner::Takes,
            Manner::Down,
            Manner::Fails,
            Manner::Redirects,
            Manner::Slow,
            Manner::Gone,
        ];
        Event::Receiver {
            host: hosts[chance.gen_range(0..hosts.len())].to_owned(),
            manner: manners[chance.gen_range(0..manners.len())],
        }
    });
    events
}

/// The only faults are the usual ones of the upstream. The quota must be used while messages wait.
pub(crate) fn busy(seed: u64, component: &Arc<SigningComponent>) {
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0xb5);
    let mut run = Run::new(seed, Faults::NONE, chance.gen_range(1..=5), 1000, component);
    let think_ms = chance.gen_range(10..2000);
    lock(&run.shared.upstream).think_ms = think_ms;
    // With a new database, no calls are made for a window.
    let start_ms = 2 * MINUTE_MS;
    run.pass_until(start_ms);
    let minutes = chance.gen_range(5..30);
    for number in 0..60 + 10 * minutes {
        run.ask(format!("message{number}"), None, None);
    }
    let end_ms = start_ms + i64::from(minutes) * MINUTE_MS;
    run.pass_until(end_ms);
    run.check_quota();
    let upstream = lock(&run.shared.upstream);
    let calls = upstream
        .arrivals
        .iter()
        .filter(|at| **at >= start_ms)
        .count();
    // The slots limit the calls: a call takes the upstream's time, and that of the network in both
    // directions.
    let mean_call_ms =
        f64::from(u32::try_from(think_ms).expect("number should fit into 32 bits")) + 150.0;
    let cycle_ms = f64::from(QUOTA.window_ms) + mean_call_ms + f64::from(QUOTA.margin_ms);
    let windows =
        f64::from(u32::try_from(end_ms - start_ms).expect("number should fit into 32 bits"))
            / cycle_ms;
    let allowed = f64::from(QUOTA.calls) * windows;
    #[expect(clippy::cast_precision_loss, reason = "hundreds")]
    let used = calls as f64;
    assert!(used >= 0.95 * allowed, "{used} calls of {allowed}");
}

/// Maximum time of the store and the network, from the claim of an attempt to the arrival of its call, without
/// faults.
const ARRIVAL_MS: i64 = 300;

/// One caller has a large backlog. Others have single messages, some of which are in that backlog too. The first call
/// for a single message waits for at most one call of each other caller.
pub(crate) fn fair(seed: u64, component: &Arc<SigningComponent>) {
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0xfa);
    let mut run = Run::new(seed, Faults::NONE, chance.gen_range(1..=3), 1000, component);
    let start_ms = 2 * MINUTE_MS;
    run.pass_until(start_ms);
    let backlog = chance.gen_range(300..400);
    for number in 0..backlog {
        let owner = Some(Owner::new("busy"));
        run.ask(format!("busy{number}"), None, owner);
        run.pass_until(start_ms + 10 * number);
    }
    let names = ["able", "ci", "shop"];
    let mut requested = Vec::new();
    for (number, name) in (0..12).zip(names.into_iter().cycle()) {
        let at_ms = run.shared.clockwork.now_ms() + chance.gen_range(MINUTE_MS..2 * MINUTE_MS);
        run.pass_until(at_ms);
        // The upstream has not been called yet for one of the last messages of the busy caller.
        let message = if number % 4 == 3 {
            format!("busy{}", backlog - number)
        } else {
            format!("single{number}")
        };
        run.ask(message.clone(), None, Some(Owner::new(name)));
        requested.push((at_ms, message));
    }
    run.pass_until(run.shared.clockwork.now_ms() + 2 * MINUTE_MS);
    run.check_quota();
    let upstream = lock(&run.shared.upstream);
    for (requested_ms, message) in requested {
        let called = upstream.calls.iter().find(|(_, called)| *called == message);
        let (called_ms, _) = called.expect("every single message should be called");
        // Calls that were claimed after the request, and before the call for it.
        let waited = requested_ms + ARRIVAL_MS..*called_ms - ARRIVAL_MS;
        let mut before: BTreeMap<&str, u32> = BTreeMap::new();
        for (_, other) in upstream.calls.iter().filter(|(at, _)| waited.contains(at)) {
            let owner = if other.starts_with("busy") {
                "busy"
            } else {
                other
            };
            *before.entry(owner).or_default() += 1;
        }
        assert!(
            before.values().all(|calls| *calls <= 1),
            "{message}, requested at {requested_ms} ms and called at {called_ms} ms: {before:?}"
        );
    }
}

/// Receivers are down for days and weeks. After a month, notifications are kept but not attempted.
pub(crate) fn patient(seed: u64, component: &Arc<SigningComponent>) {
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0xda);
    let poll_ms = 10 * 60 * 1000;
    let mut run = Run::new(
        seed,
        Faults::NONE,
        chance.gen_range(1..=2),
        poll_ms,
        component,
    );
    let hosts = ["days", "weeks", "months"];
    for host in hosts {
        lock(&run.shared.receivers).set(host, Manner::Down);
    }
    for number in 0..12 {
        let host = hosts[number % hosts.len()];
        run.ask(format!("message{number}"), Some(host.to_owned()), None);
    }
    for (days, host) in [(3, "days"), (20, "weeks"), (45, "months")] {
        run.pass_until(days * DAY_MS);
        lock(&run.shared.receivers).set(host, Manner::Takes);
        // Attempts are hourly for a week, and daily after that.
        let wait_ms = if days < 7 {
            2 * 60 * MINUTE_MS
        } else {
            DAY_MS + DAY_MS / 4
        };
        run.pass_until(days * DAY_MS + wait_ms);
        let receivers = lock(&run.shared.receivers);
        let promises = lock(&run.promises);
        let mut at_host = 0;
        for promise in promises.iter() {
            let url = promise.callback.as_deref().unwrap_or_default();
            if url.contains(host) {
                at_host += 1;
                let kept = verdict::kept(promise, &receivers.deliveries);
                // After a month a notification is parked.
                assert_eq!(kept, host != "months", "{promise:?}");
            }
        }
        assert!(at_host >= 1, "no promise was made for {host}");
    }
    run.check_quota();
}
