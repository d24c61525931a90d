#!/usr/bin/env bash
# A Slurm cluster of a few one-core nodes that all live on this machine, for tests: no systemd, no cgroups, a
# munge of its own. Needs root and Debian's slurm-wlm, munge and slurm-wlm-basic-plugins (slurmd -N: one daemon
# per node name). Touches nothing but its folder and its own processes.
#
#   private_cluster.sh FOLDER start [NODES [PORT]]   up, all nodes idle; prints nothing
#   private_cluster.sh FOLDER lose NODE              the node dies with everything on it (kill -9), and is told so
#   private_cluster.sh FOLDER revive NODE            its daemon comes back
#   private_cluster.sh FOLDER crash                  kill -9 of the controller
#   private_cluster.sh FOLDER forget                 what the controller had saved is gone (a lost state folder)
#   private_cluster.sh FOLDER restart                the controller again, with the queue it had saved
#   private_cluster.sh FOLDER stop                   everything down
# Talk to it with SLURM_CONF=FOLDER/slurm.conf in the environment.
set -euo pipefail

folder=$(realpath -m "$1")
action=$2
shift 2
export SLURM_CONF=$folder/slurm.conf

die() {
  echo "private_cluster: $*" >&2
  exit 1
}

# Until the command succeeds, for at most so many seconds.
wait_for() {
  local seconds=$1 tries
  shift
  for ((tries = 0; tries < seconds * 10; ++tries)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  return 1
}

write_configuration() {
  local nodes=$1 port=$2 host
  host=$(hostname -s)
  umask 022
  mkdir -p "$folder"/{saved,logs,pids,munge,spool}
  chmod 755 "$folder" "$folder/munge"
  [ -s "$folder/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
  echo "$nodes" >"$folder/nodes"
  local settings=(
    "ClusterName=kintsugi_test"
    "SlurmctldHost=$host(127.0.0.1)"
    "SlurmctldPort=$port"
    "SlurmUser=root"
    "SlurmdUser=root"
    "AuthType=auth/munge"
    "AuthInfo=socket=$folder/munge/socket,cred_expire=5" # a requeued job waits this long, not two minutes
    "CredType=cred/munge"
    "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
    "StateSaveLocation=$folder/saved"
    "SlurmdSpoolDir=$folder/spool/%n"
    "SlurmctldPidFile=$folder/pids/controller"
    "SlurmdPidFile=$folder/pids/%n"
    "SlurmctldLogFile=$folder/logs/controller.log"
    "SlurmdLogFile=$folder/logs/%n.log"
    "ProctrackType=proctrack/linuxproc"
    "TaskPlugin=task/none"
    "JobAcctGatherType=jobacct_gather/none"
    "AccountingStorageType=accounting_storage/none"
    "SwitchType=switch/none"
    "MpiDefault=none"
    "SelectType=select/cons_tres"
    "SelectTypeParameters=CR_CPU"
    "SchedulerType=sched/backfill"
    "SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000,batch_sched_delay=0,requeue_setup_env_fail"
    "SlurmdParameters=config_overrides" # nodes are as large as said here, whatever the machine is
    "MailProg=/bin/true"
    "JobRequeue=1"
    "ReturnToService=2"
    "SlurmdTimeout=5"
    "SlurmctldTimeout=10"
    "InactiveLimit=0"
    "KillWait=2"
    "BatchStartTimeout=10"
    "MinJobAge=300"
    "MaxJobCount=20000"
    "MaxArraySize=1001"
    "NodeName=n[0-$((nodes - 1))] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=1 RealMemory=4000 State=UNKNOWN"
    "PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP"
  )
  printf '%s\n' "${settings[@]}" >"$SLURM_CONF"
}

start_node() {
  mkdir -p "$folder/spool/n$1"
  slurmd -N "n$1" -c >"$folder/logs/n$1.out" 2>&1 || die "node n$1 does not start: $(cat "$folder/logs/n$1.out")"
}

all_idle() { [ "$(sinfo -h -t idle -o %D)" = "$(cat "$folder/nodes")" ]; }

# Is it there, and not only as a zombie that nobody has waited for?
alive() {
  local state
  state=$(ps -o stat= -p "$1" 2>/dev/null) && [[ $state != Z* ]]
}

# Jobs' processes of this cluster (of one node, if given) and the step daemons above them, by their environment.
job_processes() {
  local node=${1:-} process pid variables parent
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    variables=$({ tr '\0' '\n' <"$process/environ"; } 2>/dev/null) || continue
    grep -qxF "SLURM_CONF=$SLURM_CONF" <<<"$variables" || continue
    grep -q '^SLURM_JOB_ID=' <<<"$variables" || continue
    [ -z "$node" ] || grep -qxF "SLURMD_NODENAME=$node" <<<"$variables" || continue
    echo "$pid"
    parent=$(ps -o ppid= -p "$pid" | tr -d ' ') || continue
    [[ $(cat "/proc/$parent/comm" 2>/dev/null) == slurmstepd ]] && echo "$parent"
  done | sort -u
}

kill_hard() {
  local pid
  for pid in "$@"; do kill -9 "$pid" 2>/dev/null || true; done
}

case $action in
start)
  for program in munged slurmctld slurmd sbatch; do
    command -v $program >/dev/null || die "there is no $program; install slurm-wlm munge slurm-wlm-basic-plugins"
  done
  write_configuration "${1:-4}" "${2:-$((20000 + $$ % 1500 * 8))}"
  munged --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" --pid-file="$folder/pids/munged" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" --num-threads=2 2>"$folder/munge/out" ||
    die "munged does not start: $(cat "$folder/munge/out")"
  slurmctld -c >"$folder/logs/controller.out" 2>&1 ||
    die "slurmctld does not start: $(cat "$folder/logs/controller.out")"
  for ((node = 0; node < $(cat "$folder/nodes"); ++node)); do start_node "$node"; done
  wait_for 30 all_idle || die "the nodes do not become idle: $(sinfo -N -h -o '%N %T %E' 2>&1)"
  ;;
lose)
  kill_hard "$(cat "$folder/pids/n$1")"
  mapfile -t lost < <(job_processes "n$1")
  kill_hard "${lost[@]}"
  # The controller would notice after half a minute.
  scontrol update nodename="n$1" state=down reason=lost
  ;;
revive)
  start_node "$1"
  scontrol update nodename="n$1" state=resume 2>/dev/null || true
  ;;
crash)
  kill_hard "$(cat "$folder/pids/controller")"
  ;;
forget)
  rm -rf "$folder/saved"
  mkdir "$folder/saved"
  # Nodes take a number they have seen for the same job again and drain themselves ("Duplicate jobid"): whoever
  # loses this folder must have numbers begin above the old ones.
  grep -q '^FirstJobId=' "$SLURM_CONF" || echo FirstJobId=1000 >>"$SLURM_CONF"
  ;;
restart)
  slurmctld >"$folder/logs/controller.out" 2>&1 ||
    die "slurmctld does not start: $(cat "$folder/logs/controller.out")"
  wait_for 20 scontrol ping || die "the controller does not answer"
  ;;
stop)
  mapfile -t pids < <(cat "$folder"/pids/* 2>/dev/null)
  timeout 5 scancel --user=root 2>/dev/null || true
  mapfile -t left < <(job_processes)
  kill_hard "${left[@]}"
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    for ((tries = 0; tries < 50; ++tries)); do
      alive "$pid" || break
      sleep 0.1
    done
    alive "$pid" && kill_hard "$pid"
  done
  ;;
*)
  die "there is no action '$action'"
  ;;
esac
