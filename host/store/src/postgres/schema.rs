//! The tables and their version.

use super::Replica;
use crate::{Result, Unusable};
use deadpool_postgres::Client;
use tokio_postgres::error::SqlState;

/// Migrations: entry n creates version n + 1 from version n.
pub(super) const MIGRATIONS: [&str; 3] = [
    include_str!("version-1.sql"),
    include_str!("version-2.sql"),
    include_str!("version-3.sql"),
];

/// The number ("bulk") of the advisory lock that is held, together with a hash of the schema, while
/// the tables are changed.
const LOCK: i32 = 0x6275_6c6b;

/// Checks the version of the tables, and migrates them if necessary.
pub(super) async fn ensure(client: &mut Client, replica: &Replica) -> Result<()> {
    if version(client).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let _one_at_a_time = replica.connections.migrating.lock().await;
    migrate(client, replica).await
}

/// Returns the version of the tables, or 0 if there are none.
async fn version(client: &impl deadpool_postgres::GenericClient) -> Result<usize> {
    let found = client
        .query_opt("SELECT version FROM bulkhead_meta", &[])
        .await;
    let version = match found {
        Ok(Some(row)) => row.try_get::<_, i32>(0)?,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => 0,
        Ok(None) => return Err(Unusable::Empty.into()),
        Err(error) => return Err(error.into()),
    };
    match usize::try_from(version) {
        Ok(known) if known <= MIGRATIONS.len() => Ok(known),
        _ => Err(Unusable::Newer {
            found: version,
            known: MIGRATIONS.len(),
        }
        .into()),
    }
}

/// Applies all missing migrations in one transaction. Replicas that start at the same time wait for
/// the first of them, and then find nothing to do.
async fn migrate(client: &mut Client, replica: &Replica) -> Result<()> {
    let quota = replica.quota;
    let mut transaction = client.transaction().await?;
    transaction
        .query_one(
            "SELECT pg_advisory_xact_lock($1, hashtext(current_schema()))",
            &[&LOCK],
        )
        .await?;
    // A missing table is an error. Errors abort a transaction, but not beyond a savepoint.
    let savepoint = transaction.transaction().await?;
    let present = version(&savepoint).await?;
    drop(savepoint);
    let version = i32::try_from(MIGRATIONS.len()).expect("number of migrations should fit");
    if present > 0 {
        // This lock comes first, as in all transactions, because replicas of an older version may
        // be active.
        transaction
            .execute("UPDATE bulkhead_meta SET version = $1", &[&version])
            .await?;
    }
    for step in MIGRATIONS.iter().skip(present) {
        transaction.batch_execute(step).await?;
    }
    if present == 0 {
        // The database may replace a lost one, so that unknown calls may be active.
        transaction
            .execute(
                "INSERT INTO bulkhead_meta (version, held_until, window_ms, margin_ms, incarnation)
                 VALUES ($1, bulkhead_clock_ms() + $2, $3, $4, bulkhead_incarnation())",
                &[
                    &version,
                    &quota.claim_ms(),
                    &i64::from(quota.window_ms),
                    &i64::from(quota.margin_ms),
                ],
            )
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
