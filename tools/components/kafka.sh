# Apache Kafka: the broker and its command line tools as plain jars.
# $tools and $cache_directory come from tools/install.
# shellcheck disable=SC2154

readonly kafka_directory="$cache_directory/kafka-$KAFKA_VERSION"

describe_kafka() {
  printf 'Apache Kafka %s, through Maven' "$KAFKA_VERSION"
}

packages_kafka() {
  packages_for_java "$kafka_directory"
}

fetch_kafka() {
  fetch_once kafka "$KAFKA_VERSION" download_kafka
  write_class_archive kafka "$kafka_directory" run_kafka_once
}

download_kafka() {
  local directory=$1
  run_maven --file "$tools/components/kafka.pom.xml" \
    "-Dkafka.version=$KAFKA_VERSION" "-Dslf4j.version=$SLF4J_VERSION" \
    "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
    -DincludeScope=runtime "-DoutputDirectory=$directory/lib"
}

# The class path must be the very one that testkit gives: the archive holds for it alone.
kafka_class_path() {
  printf '%s\n' "$kafka_directory"/lib/*.jar | LC_ALL=C sort | paste --serial --delimiters=:
}

run_kafka_once() {
  local archive=$1 scratch=$2 java class_path broker_port controller_port
  java=$(java_command)
  class_path=$(kafka_class_path)
  broker_port=$(free_port)
  controller_port=$(free_port)
  cat >"$scratch/server.properties" <<TEXT
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$broker_port,CONTROLLER://127.0.0.1:$controller_port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$scratch/data
TEXT
  "$java" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$class_path" \
    kafka.tools.StorageTool format --cluster-id AAAAAAAAAAAAAAAAAAAAAA --config "$scratch/server.properties"
  run_until "$scratch/server.log" 'Kafka Server started' \
    "$java" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-XX:ArchiveClassesAtExit=$archive" \
    -cp "$class_path" kafka.Kafka "$scratch/server.properties"
}
