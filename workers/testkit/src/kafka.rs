//! A Kafka broker: one node that is broker and controller, with the settings of a real one but
//! for replication.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;

use crate::installed::JavaComponent;
use crate::port::{Port, retry_on_taken_port};
use crate::process::Process;
use crate::workdir::WorkDir;
use crate::{Error, Result, START_DEADLINE, STOP_DEADLINE, eventually};

const TOPIC_DEADLINE: Duration = Duration::from_secs(60);
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

type Admin = AdminClient<DefaultClientContext>;

/// How to start a [`Kafka`].
#[derive(Clone, Debug, Default)]
pub struct KafkaBuilder {
    properties: Vec<(String, String)>,
}

impl KafkaBuilder {
    /// Sets a property of the broker (a line of `server.properties`); the last value given
    /// counts.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Creates a new, empty broker and starts it.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`] without Kafka or Java; [`Error::ProcessFailed`], with the end of
    /// the broker's log, when it does not start.
    pub async fn start(self) -> Result<Kafka> {
        retry_on_taken_port(async || {
            let installed = JavaComponent::find("kafka", "KAFKA_VERSION")?;
            let mut kafka = Kafka {
                process: None,
                class_path: class_path(&installed)?,
                installed,
                port: Port::reserve()?,
                controller_port: Port::reserve()?,
                workdir: WorkDir::create("kafka")?,
            };
            kafka.configure(&self.properties)?;
            kafka.format().await?;
            kafka.start_again().await?;
            Ok(kafka)
        })
        .await
    }
}

/// A Kafka broker, without authentication. Dropping it ends the broker and removes its data.
///
/// Topics are not created on first use: create them with [`Kafka::create_topic`].
#[derive(Debug)]
pub struct Kafka {
    // Fields are dropped in this order: the process before its directory.
    process: Option<Process>,
    class_path: String,
    installed: JavaComponent,
    port: Port,
    controller_port: Port,
    workdir: WorkDir,
}

impl Kafka {
    /// Starts a broker with default properties.
    ///
    /// # Errors
    ///
    /// As [`KafkaBuilder::start`].
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// Describes a broker to start.
    pub fn builder() -> KafkaBuilder {
        KafkaBuilder::default()
    }

    /// The broker's address, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// Creates a topic and waits until all its partitions can be used. `configs` are the
    /// topic's own settings, for instance `("cleanup.policy", "compact")`.
    ///
    /// # Errors
    ///
    /// [`Error::Kafka`] when the broker refuses, for instance because the topic exists;
    /// [`Error::TimedOut`] when a partition has no leader after a minute.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: u16,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let attempt = || format!("create the topic {name}");
        let admin = self.admin().map_err(Error::kafka(attempt()))?;
        let mut topic = NewTopic::new(name, i32::from(partitions), TopicReplication::Fixed(1));
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        let results = admin.create_topics([&topic], &AdminOptions::new()).await;
        topic_result(results).map_err(Error::kafka(attempt()))?;

        let what = format!("leaders of all partitions of {name}");
        eventually(TOPIC_DEADLINE, what, async || {
            let with_leader = partitions_with_leader(&admin, name).await?;
            if with_leader != usize::from(partitions) {
                anyhow::bail!("{with_leader} of {partitions} partitions have one");
            }
            Ok(Some(()))
        })
        .await
    }

    /// Deletes a topic and waits until its name can be used again.
    ///
    /// # Errors
    ///
    /// [`Error::Kafka`] when the broker refuses, for instance because there is no such topic;
    /// [`Error::TimedOut`] when it is still listed after a minute.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let attempt = || format!("delete the topic {name}");
        let admin = self.admin().map_err(Error::kafka(attempt()))?;
        let results = admin.delete_topics(&[name], &AdminOptions::new()).await;
        topic_result(results).map_err(Error::kafka(attempt()))?;

        eventually(TOPIC_DEADLINE, format!("the end of {name}"), async || {
            let gone = !topics(&admin).await?.iter().any(|topic| topic == name);
            anyhow::Ok(gone.then_some(()))
        })
        .await
    }

    /// The broker's process id; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The broker's process: its log, and signals to it.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] while the broker is stopped.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().ok_or(Error::NotRunning("Kafka"))
    }

    /// Asks the broker to end, and waits until it has.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`]; [`Error::ProcessFailed`] when it has not ended after a minute.
    pub async fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM).await
    }

    /// Ends the broker by SIGKILL.
    ///
    /// # Errors
    ///
    /// As [`Kafka::stop`].
    pub async fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL).await
    }

    async fn end(&mut self, signal: Signal) -> Result<()> {
        self.process()?.stop(signal, STOP_DEADLINE).await?;
        self.process = None;
        Ok(())
    }

    /// Starts the broker again on the same ports and data. One that still runs is killed first.
    ///
    /// # Errors
    ///
    /// [`Error::ProcessFailed`], with the end of the broker's log, when it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = None;
        let process = self
            .java("Kafka", "512m")
            .arg("kafka.Kafka")
            .arg(self.workdir.join("server.properties"))
            .log_to(self.workdir.join("kafka.log"))
            .spawn()?;
        let admin = self
            .admin()
            .map_err(Error::kafka("create a Kafka client"))?;
        process
            .until(START_DEADLINE, "a broker that can be used", async || {
                // librdkafka would wait longer before it knocks again.
                tokio::net::TcpStream::connect(self.bootstrap()).await?;
                let brokers = brokers(&admin).await?;
                anyhow::Ok((brokers == 1).then_some(()))
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    fn admin(&self) -> KafkaResult<Arc<Admin>> {
        ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "100")
            .create()
            .map(Arc::new)
    }

    fn java(&self, name: &str, heap: &str) -> crate::ProcessBuilder {
        Process::builder(&self.installed.java)
            .name(name)
            .current_dir(self.workdir.path())
            .arg(format!("-Xmx{heap}"))
            .args(self.installed.flags(self.workdir.path()))
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")
            .args(["-cp", &self.class_path])
    }

    /// The session timeout is what a killed broker's next start waits for, until the controller
    /// has forgotten its predecessor: 12 s with Kafka's default of 9 s, under 5 s with 3 s.
    fn configure(&self, properties: &[(String, String)]) -> Result<()> {
        let file = self.workdir.join("server.properties");
        let (port, controller_port) = (self.port.number(), self.controller_port.number());
        let data = self.workdir.join("data");
        let mut text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             broker.heartbeat.interval.ms=500\n\
             broker.session.timeout.ms=3000\n\
             group.initial.rebalance.delay.ms=0\n\
             log.retention.ms=-1\n\
             offsets.topic.num.partitions=4\n\
             offsets.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.replication.factor=1\n",
            data.display()
        );
        for (name, value) in properties {
            let _infallible = writeln!(text, "{name}={value}");
        }
        std::fs::write(&file, text).map_err(Error::io(format!("write {}", file.display())))
    }

    /// Prepares the data directory, as every broker of this kind needs before its first start.
    async fn format(&self) -> Result<()> {
        let format = self
            .java("the formatting of Kafka's data directory", "128m")
            .args(["kafka.tools.StorageTool", "format"])
            .args(["--cluster-id", &uuid::Uuid::now_v7().simple().to_string()])
            .arg("--config")
            .arg(self.workdir.join("server.properties"))
            .log_to(self.workdir.join("format.log"))
            .spawn()?;
        format.wait_for_success(START_DEADLINE).await
    }
}

/// All jars by name, in a fixed order: the class archive holds only for the class path that it
/// was written with, and the installer sorts the same way.
fn class_path(installed: &JavaComponent) -> Result<String> {
    let directory = installed.directory.join("lib");
    let read = || -> std::io::Result<Vec<String>> {
        std::fs::read_dir(&directory)?
            .map(|entry| Ok(entry?.path().to_string_lossy().into_owned()))
            .filter(|path| path.as_ref().map_or(true, |path| path.ends_with(".jar")))
            .collect()
    };
    let mut jars = read().map_err(Error::io(format!("list {}", directory.display())))?;
    jars.sort_unstable();
    Ok(jars.join(":"))
}

fn topic_result(
    results: KafkaResult<Vec<Result<String, (String, RDKafkaErrorCode)>>>,
) -> KafkaResult<()> {
    for result in results? {
        result.map_err(|(_topic, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}

async fn brokers(admin: &Arc<Admin>) -> anyhow::Result<usize> {
    blocking(admin, |admin| {
        let metadata = admin.inner().fetch_metadata(None, METADATA_TIMEOUT)?;
        Ok(metadata.brokers().len())
    })
    .await
}

async fn topics(admin: &Arc<Admin>) -> anyhow::Result<Vec<String>> {
    blocking(admin, |admin| {
        let metadata = admin.inner().fetch_metadata(None, METADATA_TIMEOUT)?;
        Ok(metadata
            .topics()
            .iter()
            .map(|topic| topic.name().to_owned())
            .collect())
    })
    .await
}

async fn partitions_with_leader(admin: &Arc<Admin>, topic: &str) -> anyhow::Result<usize> {
    let topic = topic.to_owned();
    blocking(admin, move |admin| {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(&topic), METADATA_TIMEOUT)?;
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        Ok(partitions
            .filter(|partition| partition.leader() >= 0)
            .count())
    })
    .await
}

/// librdkafka's metadata requests block their thread.
async fn blocking<T: Send + 'static>(
    admin: &Arc<Admin>,
    request: impl FnOnce(&Admin) -> KafkaResult<T> + Send + 'static,
) -> anyhow::Result<T> {
    let admin = Arc::clone(admin);
    Ok(tokio::task::spawn_blocking(move || request(&admin)).await??)
}
