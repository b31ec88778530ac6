//! The tables, and which version of them is there.

use super::Replica;
use crate::{Result, Unusable};
use deadpool_postgres::Client;
use tokio_postgres::error::SqlState;

/// What makes version n of version n - 1.
const MIGRATIONS: [&str; 2] = [include_str!("version-1.sql"), include_str!("version-2.sql")];

/// Whoever changes the tables holds the advisory lock of this number and their schema ("bulk").
const LOCK: i32 = 0x6275_6c6b;

/// Checks the version, and brings the tables up to it.
pub(super) async fn ensure(client: &mut Client, replica: &Replica) -> Result<()> {
    if version(client).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let _one_at_a_time = replica.connections.migrating.lock().await;
    migrate(client, replica).await
}

/// 0 where there are no tables.
async fn version(client: &impl deadpool_postgres::GenericClient) -> Result<usize> {
    let found = client
        .query_opt("SELECT version FROM bulkhead_meta", &[])
        .await;
    let version = match found {
        Ok(Some(row)) => row.try_get::<_, i32>(0)?,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => 0,
        Ok(None) => return Err(Unusable::Emptied.into()),
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

/// All steps that are missing, together. Replicas that start at once wait for the first of them and
/// then find nothing to do.
async fn migrate(client: &mut Client, replica: &Replica) -> Result<()> {
    let quota = replica.quota;
    let mut transaction = client.transaction().await?;
    transaction
        .query_one(
            "SELECT pg_advisory_xact_lock($1, hashtext(current_schema()))",
            &[&LOCK],
        )
        .await?;
    // A missing table is an error, and an error ends a transaction, but not what a savepoint covers.
    let asked = transaction.transaction().await?;
    let there = version(&asked).await?;
    drop(asked);
    let version = i32::try_from(MIGRATIONS.len()).expect("they are few");
    if there > 0 {
        // First, since all who lock it do that first: replicas of an older version may be at work.
        transaction
            .execute("UPDATE bulkhead_meta SET version = $1", &[&version])
            .await?;
    }
    for step in MIGRATIONS.iter().skip(there) {
        transaction.batch_execute(step).await?;
    }
    if there == 0 {
        // It may stand in for one that was lost: calls that it does not know of may be under way.
        transaction
            .execute(
                "INSERT INTO bulkhead_meta (version, held_until, window_ms, margin_ms, incarnation)
                 VALUES ($1, bulkhead_clock_ms() + $2, $3, $4, bulkhead_incarnation())",
                &[
                    &version,
                    &quota.taken_ms(),
                    &i64::from(quota.window_ms),
                    &i64::from(quota.margin_ms),
                ],
            )
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
