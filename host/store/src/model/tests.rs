mod alike;

use super::*;
use crate::conformance::{Bench, Machine, QUOTA};
use crate::{Now, RequestFilter, RequestQuery, Store};
use std::sync::atomic::{AtomicI64, Ordering};

/// A model with one machine, which the database already knows. Other machines are not tested here.
struct ModelBench {
    model: Model,
    boot_ms: Arc<AtomicI64>,
    wall_ms: i64,
    replica: Replica,
}

impl ModelBench {
    fn new() -> Self {
        let boot_ms = Arc::new(AtomicI64::new(0));
        let database_ms = Arc::clone(&boot_ms);
        let model = Model::new(QUOTA, move || database_ms.load(Ordering::Relaxed));
        let replica = known(&model, &boot_ms);
        Self {
            model,
            boot_ms,
            wall_ms: 1_000_000,
            replica,
        }
    }
}

/// Starts a replica with a new store on a machine whose clock the database already knows.
fn known(model: &Model, boot_ms: &Arc<AtomicI64>) -> Replica {
    let start_ms = boot_ms.fetch_sub(model.quota.claim_ms(), Ordering::Relaxed);
    let earlier = another(model, boot_ms);
    boot_ms.store(start_ms, Ordering::Relaxed);
    drop(earlier.list(RequestQuery::newest(RequestFilter::All, 0), at(start_ms)));
    let machines = std::mem::take(&mut earlier.lock().machines);
    *earlier.lock() = Shared {
        machines,
        ..Shared::default()
    };
    another(model, boot_ms)
}

fn at(boot_ms: i64) -> Now {
    Now {
        wall: UnixMillis(1_000_000),
        boot: BootMillis(boot_ms),
    }
}

fn another(model: &Model, boot_ms: &Arc<AtomicI64>) -> Replica {
    let boot_ms = Arc::clone(boot_ms);
    model.replica("this start", move || {
        BootMillis(boot_ms.load(Ordering::Relaxed))
    })
}

impl Bench for ModelBench {
    fn store(&self) -> &dyn Store {
        &self.replica
    }

    fn now(&self) -> Now {
        Now {
            wall: UnixMillis(self.wall_ms),
            boot: BootMillis(self.boot_ms.load(Ordering::Relaxed)),
        }
    }

    fn pass(&mut self, ms: i64) {
        self.boot_ms.fetch_add(ms, Ordering::Relaxed);
        self.wall_ms += ms;
    }

    fn step_wall(&mut self, ms: i64) {
        self.wall_ms += ms;
    }

    fn crash(&mut self, _machine: Machine, quota: Quota) {
        self.model = self.model.with_quota(quota);
        self.replica = another(&self.model, &self.boot_ms);
    }

    fn replica(&mut self) -> Option<Box<dyn Store>> {
        Some(Box::new(another(&self.model, &self.boot_ms)))
    }
}

mod conformance {
    crate::conformance::conformance_tests!(super::ModelBench::new());
}
