# Apicurio Registry: a schema registry that answers Confluent's REST API.
# $tools and $cache_directory come from tools/install.
# shellcheck disable=SC2154

readonly registry_directory="$cache_directory/registry-$APICURIO_VERSION"

describe_registry() {
  printf 'Apicurio schema registry %s, through Maven' "$APICURIO_VERSION"
}

packages_registry() {
  packages_for_java "$registry_directory"
}

fetch_registry() {
  fetch_once registry "$APICURIO_VERSION" download_registry
  write_class_archive registry "$registry_directory" run_registry_once
}

download_registry() {
  local directory=$1
  local archive="$directory/apicurio-registry-app-$APICURIO_VERSION-all.tar.gz"
  # Outside any project, lest Maven read a pom.xml that happens to lie in the user's directory.
  (
    cd "$directory" &&
      run_maven "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy" \
        "-Dartifact=io.apicurio:apicurio-registry-app:$APICURIO_VERSION:tar.gz:all" "-DoutputDirectory=$directory"
  ) && tar --extract --file "$archive" --directory "$directory" && rm "$archive"
}

run_registry_once() {
  local archive=$1 scratch=$2
  run_until "$scratch/server.log" 'Listening on' \
    "$(java_command)" -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-XX:ArchiveClassesAtExit=$archive" \
    -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$(free_port)" \
    -jar "$registry_directory/apicurio-registry-app-$APICURIO_VERSION-runner.jar"
}
