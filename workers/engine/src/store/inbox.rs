//! Probing the inbox and writing its rows.
//!
//! Invariant: whether an event is new is decided inside the batch's transaction, and its row is
//! written there too; a second writer of the same id makes one of the two fail, never both succeed.

use crate::batch::Accepted;
use crate::inbox::{Column, ColumnKind, Inbox, Value};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgCopyIn};
use sqlx::{AssertSqlSafe, Row};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// From this many rows on, COPY; below it, one INSERT over arrays. The client library sends the
/// end of a COPY in a packet of its own and leaves Nagle's algorithm on, so that a small COPY over
/// TCP waits 40 ms for a delayed acknowledgement.
const COPY_FROM: usize = 2_000;

/// COPY data is handed over in pieces of this size.
const COPY_CHUNK: usize = 1 << 20;

/// A value that does not fit its column: a defect of the worker's `fill`.
#[derive(Debug, thiserror::Error)]
#[error("column {column} of {table} is filled with {value}")]
struct WrongValue {
    table: &'static str,
    column: &'static str,
    value: String,
}

/// The SQL of one inbox table, built once.
#[derive(Debug)]
pub struct InboxTable<P> {
    inbox: Inbox<P>,
    columns: Vec<Column>,
    probe: Arc<str>,
    copy: String,
    insert: Arc<str>,
}

impl<P> InboxTable<P> {
    /// Builds the statements; all names are constants of the program.
    pub fn new(inbox: Inbox<P>) -> Self {
        let (table, id) = (inbox.table, inbox.id);
        let mut columns = vec![Column::uuid(id), Column::bigint("content_hash")];
        columns.extend_from_slice(inbox.columns);
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        let names = names.join(", ");
        let arrays: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(index, column)| format!("${}::{}[]", index + 1, array_type(column.kind)))
            .collect();
        let selected: Vec<String> = columns
            .iter()
            .map(|column| match column.kind {
                ColumnKind::Jsonb => format!("{}::jsonb", column.name),
                _ => column.name.to_owned(),
            })
            .collect();
        Self {
            probe: format!(
                "SELECT {id}, content_hash FROM {table} WHERE {id} = ANY($1) AND {id} BETWEEN $2 AND $3"
            )
            .into(),
            copy: format!("COPY {table} ({names}) FROM STDIN (FORMAT binary)"),
            insert: format!(
                "INSERT INTO {table} ({names}) SELECT {} FROM unnest({}) AS new({names})",
                selected.join(", "),
                arrays.join(", ")
            )
            .into(),
            inbox,
            columns,
        }
    }

    /// The table's name.
    pub const fn table(&self) -> &'static str {
        self.inbox.table
    }

    /// The content hashes of those of the ids that are there already. Asked by groups of the same
    /// day, each bounded, so that only the partitions that can hold them are visited.
    pub async fn known(
        &self,
        connection: &mut PgConnection,
        ids: &[Uuid],
    ) -> Result<HashMap<Uuid, i64>, sqlx::Error> {
        let mut known = HashMap::new();
        for group in by_day(ids) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else {
                continue;
            };
            let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.probe)))
                .bind(&group)
                .bind(first)
                .bind(last)
                .fetch_all(&mut *connection)
                .await?;
            for row in rows {
                known.insert(row.try_get(0)?, row.try_get(1)?);
            }
        }
        Ok(known)
    }

    /// Version-7 ids below this one were forgotten by retention; `None` = nothing was.
    pub async fn floor(&self, connection: &mut PgConnection) -> Result<Option<Uuid>, sqlx::Error> {
        let floor: Option<Option<Uuid>> = sqlx::query_scalar(
            "SELECT engine.uuid_v7_floor(floor_day) FROM engine.day_partitioned_tables
             WHERE parent = $1::regclass",
        )
        .bind(self.inbox.table)
        .fetch_optional(connection)
        .await?;
        Ok(floor.flatten())
    }

    /// Writes the rows of new events.
    pub async fn insert(
        &self,
        connection: &mut PgConnection,
        events: &[&Accepted<P>],
    ) -> Result<(), sqlx::Error> {
        match events.len() {
            0 => Ok(()),
            COPY_FROM.. => self.copy_rows(connection, events).await,
            _ => self.insert_arrays(connection, events).await,
        }
    }

    fn row<'e>(&self, event: &'e Accepted<P>, row: &mut Vec<Value<'e>>) {
        row.clear();
        row.push(Value::Uuid(Some(event.envelope.id.0)));
        row.push(Value::BigInt(Some(event.content_hash.0)));
        (self.inbox.fill)(event, row);
    }

    async fn copy_rows(
        &self,
        connection: &mut PgConnection,
        events: &[&Accepted<P>],
    ) -> Result<(), sqlx::Error> {
        let mut data = Vec::with_capacity(events.len() * 512);
        data.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        let mut row = Vec::with_capacity(self.columns.len());
        for event in events {
            self.row(event, &mut row);
            self.check(&row)?;
            push_count(&mut data, row.len());
            row.iter().for_each(|value| push_binary(&mut data, value));
        }
        data.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy: PgCopyIn<&mut PgConnection> = connection.copy_in_raw(&self.copy).await?;
        for chunk in data.chunks(COPY_CHUNK) {
            copy.send(chunk).await?;
        }
        copy.finish().await?;
        Ok(())
    }

    async fn insert_arrays(
        &self,
        connection: &mut PgConnection,
        events: &[&Accepted<P>],
    ) -> Result<(), sqlx::Error> {
        let mut arrays: Vec<Array<'_>> = self
            .columns
            .iter()
            .map(|column| Array::new(column.kind, events.len()))
            .collect();
        let mut row = Vec::with_capacity(self.columns.len());
        for event in events {
            self.row(event, &mut row);
            self.check(&row)?;
            for (array, value) in arrays.iter_mut().zip(&row) {
                array.push(*value);
            }
        }
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&self.insert)));
        for array in arrays {
            query = match array {
                Array::Uuid(values) => query.bind(values),
                Array::Text(values) => query.bind(values),
                Array::BigInt(values) => query.bind(values),
                Array::Timestamp(values) => query.bind(values),
            };
        }
        query.execute(connection).await.map(|_| ())
    }

    fn check(&self, row: &[Value<'_>]) -> Result<(), sqlx::Error> {
        let fits = |(column, value): (&Column, &Value<'_>)| {
            matches!(
                (column.kind, value),
                (ColumnKind::Uuid, Value::Uuid(_))
                    | (ColumnKind::Text, Value::Text(_))
                    | (ColumnKind::Jsonb, Value::Jsonb(_))
                    | (ColumnKind::BigInt, Value::BigInt(_))
                    | (ColumnKind::Timestamp, Value::Timestamp(_))
            )
        };
        let wrong = match self.columns.iter().zip(row).find(|pair| !fits(*pair)) {
            Some((column, value)) => (column.name, format!("{value:?}")),
            None if row.len() != self.columns.len() => (
                "(all)",
                format!("{} values for {} columns", row.len(), self.columns.len()),
            ),
            None => return Ok(()),
        };
        let (column, value) = wrong;
        Err(sqlx::Error::Encode(Box::new(WrongValue {
            table: self.inbox.table,
            column,
            value,
        })))
    }
}

const fn array_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Uuid => "uuid",
        ColumnKind::Text | ColumnKind::Jsonb => "text",
        ColumnKind::BigInt => "bigint",
        ColumnKind::Timestamp => "timestamptz",
    }
}

enum Array<'e> {
    Uuid(Vec<Option<Uuid>>),
    Text(Vec<Option<&'e str>>),
    BigInt(Vec<Option<i64>>),
    Timestamp(Vec<Option<DateTime<Utc>>>),
}

impl<'e> Array<'e> {
    fn new(kind: ColumnKind, rows: usize) -> Self {
        match kind {
            ColumnKind::Uuid => Self::Uuid(Vec::with_capacity(rows)),
            ColumnKind::Text | ColumnKind::Jsonb => Self::Text(Vec::with_capacity(rows)),
            ColumnKind::BigInt => Self::BigInt(Vec::with_capacity(rows)),
            ColumnKind::Timestamp => Self::Timestamp(Vec::with_capacity(rows)),
        }
    }

    fn push(&mut self, value: Value<'e>) {
        match (self, value) {
            (Self::Uuid(values), Value::Uuid(value)) => values.push(value),
            (Self::Text(values), Value::Text(value) | Value::Jsonb(value)) => values.push(value),
            (Self::BigInt(values), Value::BigInt(value)) => values.push(value),
            (Self::Timestamp(values), Value::Timestamp(value)) => values.push(value),
            // Rows are checked before they are pushed.
            _ => {}
        }
    }
}

fn push_count(data: &mut Vec<u8>, columns: usize) {
    data.extend_from_slice(&i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes());
}

fn push_field(data: &mut Vec<u8>, prefix: &[u8], bytes: &[u8]) {
    let length = i32::try_from(prefix.len() + bytes.len()).unwrap_or(i32::MAX);
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(prefix);
    data.extend_from_slice(bytes);
}

/// 2000-01-01 UTC in microseconds since 1970: PostgreSQL's epoch.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

fn push_binary(data: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Uuid(Some(id)) => push_field(data, &[], id.as_bytes()),
        Value::Text(Some(text)) => push_field(data, &[], text.as_bytes()),
        // The version byte of jsonb's binary format.
        Value::Jsonb(Some(text)) => push_field(data, &[1], text.as_bytes()),
        Value::BigInt(Some(number)) => push_field(data, &[], &number.to_be_bytes()),
        Value::Timestamp(Some(time)) => {
            let micros = time.timestamp_micros() - POSTGRES_EPOCH_MICROS;
            push_field(data, &[], &micros.to_be_bytes());
        }
        _ => data.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}

/// The ids, sorted, in groups that lie in one day's partition; ids without a time of their own
/// (not version 7) form one group.
fn by_day(ids: &[Uuid]) -> Vec<Vec<Uuid>> {
    const DAY_MILLIS: u128 = 24 * 60 * 60 * 1000;
    let day = |id: &Uuid| match id.get_version_num() {
        7 => Some((id.as_u128() >> 80) / DAY_MILLIS),
        _ => None,
    };
    let mut sorted = ids.to_vec();
    sorted.sort_unstable_by_key(|id| (day(id), *id));
    sorted
        .chunk_by(|a, b| day(a) == day(b))
        .map(<[Uuid]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_different_days_are_probed_apart() {
        let at = |day: u64, n: u8| {
            uuid::Builder::from_unix_timestamp_millis(day * 86_400_000 + 5, &[n; 10]).into_uuid()
        };
        let random = uuid::Builder::from_random_bytes([200; 16]).into_uuid();
        let groups = by_day(&[at(3, 2), at(2, 1), random, at(3, 1)]);
        assert_eq!(
            groups,
            [vec![random], vec![at(2, 1)], vec![at(3, 1), at(3, 2)]]
        );
    }
}
