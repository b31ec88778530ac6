//! A separate schema in PostgreSQL for each test.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A schema of a database. It is dropped with this value unless the test fails.
pub struct Schema {
    /// The store URL for a server.
    pub url: String,
    database: String,
    name: String,
}

impl Schema {
    /// Creates a schema in the database of this URL. Needs `psql`.
    pub fn new(database: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("blackbox_{}_{count}", std::process::id());
        let between = if database.contains('?') { '&' } else { '?' };
        let schema = Self {
            url: format!("{database}{between}options=-csearch_path%3D{name}"),
            database: database.into(),
            name,
        };
        schema.psql(&format!("CREATE SCHEMA {}", schema.name));
        schema
    }

    fn psql(&self, command: &str) {
        let output = Command::new("psql")
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-c", command])
            .arg(&self.database)
            .output()
            .expect("psql should run");
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.psql(&format!("DROP SCHEMA {} CASCADE", self.name));
        }
    }
}
