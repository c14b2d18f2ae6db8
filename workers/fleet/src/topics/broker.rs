//! The brokers' side of topics.

use super::plan::{Action, Found, FoundSetting, TopicPlan, Wanted};
use anyhow::{Context, Result, anyhow};
use publish::KafkaSettings;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic,
    OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than a client has to say within that time.
const COMPLAINTS: usize = 100;

/// A connection to the brokers.
pub struct Broker {
    admin: AdminClient<DefaultClientContext>,
    /// Asks for the cluster: the admin client never hears why a broker cannot be reached.
    scout: BaseProducer<Trouble>,
    addresses: String,
    trouble: Trouble,
}

/// What the brokers say about themselves.
pub struct Cluster {
    /// How many brokers there are.
    pub brokers: usize,
    partitions: BTreeMap<String, i32>,
}

impl Broker {
    /// A connection; nothing is asked yet.
    pub fn connect(settings: &KafkaSettings) -> Result<Self> {
        settings.check_files().map_err(|problem| anyhow!(problem))?;
        let config = settings.client_config();
        let trouble = Trouble::default();
        let unusable = "the settings in [kafka] cannot be used";
        let admin = config.create().context(unusable)?;
        let scout =
            BaseProducer::from_config_and_context(&config, trouble.clone()).context(unusable)?;
        Ok(Self {
            admin,
            scout,
            addresses: settings.brokers.join(", "),
            trouble,
        })
    }

    /// The brokers and the topics that they have.
    pub fn cluster(&self) -> Result<Cluster> {
        let metadata = self.scout.client().fetch_metadata(None, PATIENCE);
        let metadata = metadata.map_err(|error| {
            let why = self.complaint().unwrap_or_else(|| error.to_string());
            let addresses = &self.addresses;
            anyhow!("no broker of {addresses} (kafka.brokers) answers: {why}")
        })?;
        let partitions = metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none())
            .map(|topic| {
                let partitions = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
                (topic.name().to_owned(), partitions)
            })
            .collect();
        Ok(Cluster {
            brokers: metadata.brokers().len(),
            partitions,
        })
    }

    /// Why no broker can be reached. The client keeps what it has to say until it is polled.
    fn complaint(&self) -> Option<String> {
        for _ in 0..COMPLAINTS {
            self.scout.poll(Duration::ZERO);
        }
        self.trouble.last()
    }

    /// The wanted topics, as far as the brokers have them.
    pub async fn describe(
        &self,
        cluster: &Cluster,
        wanted: &[Wanted],
    ) -> Result<BTreeMap<String, Found>> {
        let there = |topic: &&Wanted| cluster.partitions.contains_key(&topic.name);
        let resources: Vec<ResourceSpecifier<'_>> = wanted
            .iter()
            .filter(there)
            .map(|t| ResourceSpecifier::Topic(&t.name))
            .collect();
        if resources.is_empty() {
            return Ok(BTreeMap::new());
        }
        let answers = self
            .admin
            .describe_configs(resources.iter(), &options())
            .await
            .context("the brokers do not show the settings of topics")?;
        let mut found = BTreeMap::new();
        for answer in answers {
            let resource = answer.map_err(|code| {
                anyhow!("the brokers do not show the settings of a topic: {code}")
            })?;
            let (name, settings) = settings_of(resource);
            let partitions = cluster.partitions.get(&name).copied().unwrap_or_default();
            found.insert(
                name,
                Found {
                    partitions,
                    settings,
                },
            );
        }
        Ok(found)
    }

    /// Does what a plan says.
    pub async fn execute(&self, plan: &TopicPlan, replicas: usize) -> Result<()> {
        let name = &plan.wanted.name;
        match &plan.action {
            Action::Keep => Ok(()),
            Action::Create => self.create(&plan.wanted, replicas).await,
            Action::Alter { settings, .. } => self.alter(name, settings).await,
        }
    }

    async fn create(&self, wanted: &Wanted, replicas: usize) -> Result<()> {
        let replicas = TopicReplication::Fixed(i32::try_from(replicas).unwrap_or(i32::MAX));
        let topic = wanted.settings.iter().fold(
            NewTopic::new(&wanted.name, wanted.partitions, replicas),
            |topic, (name, value)| topic.set(name, value),
        );
        let results = self.admin.create_topics([&topic], &options()).await;
        let results = results.with_context(|| format!("{}: not created", wanted.name))?;
        match results.into_iter().next() {
            Some(Err((name, code))) => Err(anyhow!("{name}: not created: {code}")),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    async fn alter(&self, name: &str, settings: &BTreeMap<String, String>) -> Result<()> {
        let change = settings.iter().fold(
            AlterConfig::new(ResourceSpecifier::Topic(name)),
            |change, (setting, value)| change.set(setting, value),
        );
        let results = self.admin.alter_configs([&change], &options()).await;
        let results = results.with_context(|| format!("{name}: not changed"))?;
        match results.into_iter().next() {
            Some(Err((_, code))) => Err(anyhow!("{name}: not changed: {code}")),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

fn settings_of(resource: ConfigResource) -> (String, BTreeMap<String, FoundSetting>) {
    let name = match resource.specifier {
        OwnedResourceSpecifier::Topic(name) | OwnedResourceSpecifier::Group(name) => name,
        OwnedResourceSpecifier::Broker(id) => id.to_string(),
    };
    let settings = resource
        .entries
        .into_iter()
        .filter_map(|entry| {
            let own = entry.source == ConfigSource::DynamicTopic;
            Some((
                entry.name,
                FoundSetting {
                    value: entry.value?,
                    own,
                },
            ))
        })
        .collect();
    (name, settings)
}

/// The last trouble with a broker; the client's own errors say only that there was one.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn last(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ClientContext for Trouble {
    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down follows from what was said before, and says less.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ProducerContext for Trouble {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}
