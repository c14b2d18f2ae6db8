//! `fleet position`: shows where groups stand, and moves a position by a person's decision.
//!
//! Invariant: a position is moved only together with the fence, so that no running worker can
//! commit anything of the old position afterwards; and never without a reason.

use crate::config::Loaded;
use crate::run::settings_for;
use anyhow::{Context, Result, bail, ensure};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use databases::Service;
use engine::TopicIds;
use engine::kafka::broker::Broker;
use engine::scheduling::offsets::{NextOffset, TopicPartition};
use engine::store::claim::{Observed, set_position};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use std::process::ExitCode;
use std::str::FromStr;

/// Shows positions, or moves one
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Where a group stands on each partition, and who holds it
    Show {
        /// The consumer group
        #[arg(long, default_value = "learnexpert.analytics")]
        group: String,
    },
    /// Moves one position; whoever works on the partition claims it again from there
    Set {
        /// The consumer group
        #[arg(long)]
        group: String,
        /// Which partition, such as 'iam.users[3]'
        #[arg(long)]
        partition: String,
        /// earliest, latest, or an offset within the log
        #[arg(long)]
        to: To,
        /// Why; kept with the fence
        #[arg(long)]
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Earliest,
    Latest,
    Offset(i64),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<i64>()) {
            ("earliest", _) => Ok(Self::Earliest),
            ("latest", _) => Ok(Self::Latest),
            (_, Ok(offset)) if offset >= 0 => Ok(Self::Offset(offset)),
            _ => Err("use earliest, latest, or an offset from 0".to_owned()),
        }
    }
}

impl To {
    /// The position meant, if the log has it.
    fn within(self, observed: &Observed) -> Result<NextOffset> {
        let (low, high) = (observed.low, observed.high);
        let position = match self {
            Self::Earliest => low,
            Self::Latest => high,
            Self::Offset(offset) => NextOffset(offset),
        };
        ensure!(
            (low..=high).contains(&position),
            "the log holds offsets {low} to {high}; {position} is outside of it"
        );
        Ok(position)
    }
}

/// `iam.users[3]`
fn parse_partition(text: &str) -> Result<TopicPartition> {
    let parts = text.strip_suffix(']').and_then(|text| text.split_once('['));
    let (topic, number) =
        parts.with_context(|| format!("{text:?} is no partition such as 'iam.users[3]'"))?;
    let partition = number
        .parse()
        .with_context(|| format!("{number:?} is no partition number"))?;
    Ok(TopicPartition {
        topic: topic.into(),
        partition,
    })
}

/// The service whose database holds a group's positions.
fn service_of(group: &str) -> Result<Service> {
    match group {
        "learnexpert.analytics" => Ok(Service::Analytics),
        _ => bail!("there is no group {group}; the groups are: learnexpert.analytics"),
    }
}

/// Shows or moves.
///
/// # Errors
/// What could not be reached, or a position that the log does not have.
pub async fn run(args: Args, read: impl FnOnce() -> Loaded) -> Result<ExitCode> {
    let config = read().usable(|problem| eprintln!("{problem}"))?;
    match args.what {
        What::Show { group } => {
            let database = config.database(service_of(&group)?)?;
            show(&mut PgConnection::connect_with(&database).await?, &group).await?;
        }
        What::Set {
            group,
            partition,
            to,
            reason,
        } => {
            let settings = settings_for(&config, service_of(&group)?)?;
            let partition = parse_partition(&partition)?;
            let broker = Broker::new(&settings.consumer_config(&group), TopicIds::FromBroker)?;
            let asked = partition.clone();
            let observed = tokio::task::spawn_blocking(move || broker.observe(&[asked])).await??;
            let observed = observed
                .get(&partition)
                .context("the broker does not know the partition")?;
            let position = to.within(observed)?;
            let mut connection = PgConnection::connect_with(&settings.database).await?;
            let by = format!("fleet position set: {reason}");
            let before = set_position(
                &mut connection,
                &group,
                &partition,
                observed.topic_id,
                position,
                &by,
            )
            .await?;
            let before = before.map_or_else(|| "nowhere".to_owned(), |before| before.to_string());
            println!("{group} {partition}: from {before} to {position}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(connection: &mut PgConnection, group: &str) -> Result<()> {
    let rows: Vec<(String, i32, i64, i64, i64, String, String)> = sqlx::query_as(
        "SELECT topic, partition, next_offset, hold_below, f.epoch, f.claimed_by, f.claimed_at::timestamp(0)::text
         FROM engine.partition_position p JOIN engine.partition_fence f USING (consumer_group, topic, partition)
         WHERE consumer_group = $1 ORDER BY topic, partition",
    )
    .bind(group)
    .fetch_all(connection)
    .await?;
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "partition",
        "position",
        "hold below",
        "epoch",
        "claimed by",
        "claimed at (UTC)",
    ]);
    for (topic, partition, position, hold, epoch, by, at) in rows {
        table.add_row([
            format!("{topic}[{partition}]"),
            position.to_string(),
            hold.to_string(),
            epoch.to_string(),
            by,
            at,
        ]);
    }
    println!("{table}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_written_as_in_messages() {
        let partition = parse_partition("iam.users[3]").unwrap();
        assert_eq!((&*partition.topic, partition.partition), ("iam.users", 3));
        for wrong in ["iam.users", "iam.users[x]", "iam.users[3"] {
            assert!(parse_partition(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_position_outside_the_log_is_refused_with_its_ends() {
        let observed = Observed {
            topic_id: uuid::Uuid::nil(),
            low: NextOffset(10),
            high: NextOffset(20),
            hint: None,
        };
        assert_eq!(
            "earliest".parse::<To>().unwrap().within(&observed).unwrap(),
            NextOffset(10)
        );
        assert_eq!(
            "latest".parse::<To>().unwrap().within(&observed).unwrap(),
            NextOffset(20)
        );
        assert_eq!(
            "15".parse::<To>().unwrap().within(&observed).unwrap(),
            NextOffset(15)
        );
        let error = "21"
            .parse::<To>()
            .unwrap()
            .within(&observed)
            .unwrap_err()
            .to_string();
        assert!(error.contains("10 to 20"), "{error}");
        assert!("soon".parse::<To>().is_err());
    }
}
