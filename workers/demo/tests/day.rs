//! The demo itself, short.
#![allow(clippy::unwrap_used)]

#[tokio::test(flavor = "multi_thread")]
async fn a_short_day_takes_effect_exactly_once() {
    demo::play(demo::Options {
        seed: 7,
        learners: 150,
        keep: false,
    })
    .await
    .unwrap();
}
