//! Stable identities, on a real broker: the mock cluster knows none.

use crate::fleet::{reads, until_shared};
use crate::support::scripted::Scripted;
use crate::support::{Bed, Broker, RawRecord, event, key_in, server, until_reading};
use engine::{Running, Shutdown};
use testkit::Kafka;

fn start(bed: &Bed, instance: &str, shutdown: Shutdown) -> Running {
    let mut settings = bed.settings();
    settings.instance_id = Some(instance.to_owned());
    settings.shutdown = shutdown;
    engine::start(Scripted::new(), settings).unwrap()
}

fn partitions(member: &Running) -> Vec<String> {
    member.board().snapshot().partitions.into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_its_partitions_and_leaving_gives_them_up() {
    let kafka = Kafka::start().await.unwrap();
    let bed = Bed::on(server::shared().await, Broker::Real(Box::new(kafka)), "").await;
    let keys = [0, 1, 2, 3].map(key_in);
    let records: Vec<RawRecord> = (0..400)
        .map(|number| event(keys[number % 4], i64::try_from(number).unwrap(), ""))
        .collect();
    let first = start(&bed, "scripted-0", Shutdown::Stay);
    let second = start(&bed, "scripted-1", Shutdown::Stay);
    until_shared(&[&first, &second], 2).await;
    let (of_first, of_second) = (partitions(&first), partitions(&second));
    let rebalances = second.board().snapshot().rebalances;

    bed.send_all(records[..200].to_vec()).await;
    first.stop().await.unwrap();
    let first = start(&bed, "scripted-0", Shutdown::Leave);
    until_reading(&first, 2).await;
    bed.send_all(records[200..].to_vec()).await;
    bed.until_caught_up().await;
    assert_eq!(
        (partitions(&first), partitions(&second)),
        (of_first, of_second)
    );
    assert_eq!(
        second.board().snapshot().rebalances,
        rebalances,
        "nobody else noticed the restart"
    );

    first.stop().await.unwrap();
    until_reading(&second, 4).await;
    bed.assert_applied(records.iter().map(RawRecord::id)).await;
    bed.assert_order_within_keys().await;

    // Staying away for longer than a session may be silent gives the partitions to others, too.
    let third = start(&bed, "scripted-2", Shutdown::Leave);
    until_shared(&[&second, &third], 2).await;
    second.stop().await.unwrap();
    assert_eq!(reads(&third), 2);
    until_reading(&third, 4).await;
    third.stop().await.unwrap();
}
