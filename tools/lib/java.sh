# Java components: fetched by Maven into the cache, complete or not at all.

readonly cache_directory="${XDG_CACHE_HOME:-$HOME/.cache}/learnexpert"
readonly oldest_java=17

# Waits for the lock NAME and holds it until release_lock or the script's end, so
# that two runs do not fetch the same thing.
hold_lock() {
  mkdir -p "$cache_directory"
  exec 9>"$cache_directory/.$1.lock"
  if ! flock --nonblock 9; then
    say "waiting for another tools/install that works on $1"
    flock 9
  fi
}

release_lock() {
  exec 9>&-
}

# The same choice as testkit's: JAVA_HOME first, then PATH.
java_command() {
  if [[ -n ${JAVA_HOME:-} && -x $JAVA_HOME/bin/java ]]; then
    printf '%s' "$JAVA_HOME/bin/java"
  else
    command -v java
  fi
}

# Prints the full version of the Java in use, and nothing when there is none.
java_version() {
  local java
  java=$(java_command) || return 0
  "$java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.vm\.version = //p'
}

# Prints the packages that running and fetching a Java component still need; the
# argument is the component's directory.
packages_for_java() {
  local directory=$1 version
  version=$(java_version)
  if [[ -z $version || ${version%%[.+]*} -lt $oldest_java ]]; then
    printf 'openjdk-17-jdk-headless\n'
  fi
  if [[ ! -d $directory ]] && ! command -v mvn >/dev/null; then
    printf 'maven\n'
  fi
}

# Runs a Maven goal. Checksums must match.
run_maven() {
  MAVEN_OPTS="${MAVEN_OPTS:-} -Djansi.mode=strip" run_quietly \
    mvn --batch-mode --no-transfer-progress --quiet --strict-checksums "$@"
}

# fetch_once COMPONENT VERSION FUNCTION: unless the component's directory is there,
# calls FUNCTION with an empty directory to fill and then puts that in place by a rename.
fetch_once() {
  local component=$1 version=$2 fill=$3
  local directory="$cache_directory/$component-$version"
  if [[ -d $directory ]]; then
    say "$component $version: present in $directory"
    return
  fi

  hold_lock "$component"
  if [[ ! -d $directory ]]; then
    say "$component $version: fetching through Maven (once) into $directory"
    # What an interrupted run left.
    rm -rf "$cache_directory/.$component-$version".??????
    local unfinished
    unfinished=$(mktemp -d "$cache_directory/.$component-$version.XXXXXX")
    if ! "$fill" "$unfinished"; then
      rm -rf "$unfinished"
      fail "$component $version could not be fetched; see the message above"
    fi
    chmod 755 "$unfinished"
    mv -T "$unfinished" "$directory"
  else
    say "$component $version: present in $directory"
  fi
  release_lock
}

# The class archive halves a server's start. It holds only for the Java that wrote
# it, which is why that Java's version stands beside it. Without it, or with
# another Java's, the server starts all the same.
class_archive_is_current() {
  local directory=$1
  [[ -f $directory/classes.jsa && $(cat "$directory/classes.jsa.java" 2>/dev/null) == "$(java_version)" ]]
}

# write_class_archive COMPONENT DIRECTORY FUNCTION: calls FUNCTION with the name of the
# archive; it must run the server once with -XX:ArchiveClassesAtExit.
write_class_archive() {
  local component=$1 directory=$2 run_once=$3
  if class_archive_is_current "$directory"; then
    return
  fi

  hold_lock "$component"
  if ! class_archive_is_current "$directory"; then
    say "$component: writing a class archive (once), which makes it start faster"
    local scratch
    scratch=$(mktemp -d)
    if "$run_once" "$scratch/classes.jsa" "$scratch" >"$scratch/log" 2>&1 && [[ -f $scratch/classes.jsa ]]; then
      java_version >"$directory/classes.jsa.java"
      mv "$scratch/classes.jsa" "$directory/classes.jsa"
    else
      tail -n 5 "$scratch/log"
      say "$component: no class archive could be written; it works without, starting more slowly"
    fi
    rm -rf "$scratch"
  fi
  release_lock
}

# A port that nothing listens on, below the range that outgoing connections use.
free_port() {
  local port
  while true; do
    port=$((10000 + RANDOM % 20000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s' "$port"
      return
    fi
  done
}

# run_until FILE PATTERN COMMAND...: runs the command with its output in FILE until
# PATTERN appears there, then ends it by SIGTERM. It dies with the installer.
run_until() {
  local output=$1 pattern=$2 pid deadline=$((SECONDS + 60))
  shift 2
  setpriv --pdeathsig KILL "$@" >"$output" 2>&1 9>&- &
  pid=$!
  until grep -q -- "$pattern" "$output"; do
    if ! kill -0 "$pid" 2>/dev/null || ((SECONDS > deadline)); then
      kill -KILL "$pid" 2>/dev/null || true
      cat "$output"
      return 1
    fi
    sleep 0.1
  done
  kill -TERM "$pid"
  # A server that is told to end reports the signal as its status.
  wait "$pid" || true
}
