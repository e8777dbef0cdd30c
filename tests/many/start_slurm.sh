#!/usr/bin/env bash
# Start a Slurm of one node, this machine, if none answers. Installs it by apt; needs root.
set -euo pipefail
timeout 5 sinfo -h >/dev/null 2>&1 && exit 0

if ! command -v slurmctld slurmd slurmdbd munged mariadbd >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        slurm-wlm munge slurmdbd mariadb-server slurm-wlm-mysql-plugin
fi

place=/var/tmp/slurm-of-one-node
host=$(hostname -s)
memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 10))
mkdir -p $place/{state,spool,log,data} /run/munge /etc/slurm
pkill -x slurmctld || true
pkill -x slurmd || true
pkill -x slurmdbd || true

[ -s /etc/munge/munge.key ] || { head -c 1024 /dev/urandom >/etc/munge/munge.key; }
chown -R munge: /etc/munge /run/munge /var/lib/munge /var/log/munge
chmod 400 /etc/munge/munge.key
pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged

if ! mariadb -S $place/db.sock -e 'select 1' >/dev/null 2>&1; then
    chown -R mysql: $place/data
    chmod 755 $place
    [ -d $place/data/mysql ] || mariadb-install-db --user=mysql --datadir=$place/data >/dev/null
    runuser -u mysql -- mariadbd --datadir=$place/data --socket=$place/data/db.sock \
        --pid-file=$place/data/db.pid --bind-address=127.0.0.1 --port=33306 \
        --innodb-buffer-pool-size=64M >$place/log/db 2>&1 &
    for _ in $(seq 60); do
        mariadb -S $place/data/db.sock -e 'select 1' >/dev/null 2>&1 && break
        sleep 0.5
    done
    mariadb -S $place/data/db.sock -e "create database if not exists slurm_acct_db;
        create user if not exists 'slurm'@'localhost' identified by 'slurm';
        create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm';
        grant all on slurm_acct_db.* to 'slurm'@'localhost';
        grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';"
fi

cat >/etc/slurm/slurmdbd.conf <<CONF
AuthType=auth/munge
DbdHost=$host
SlurmUser=root
LogFile=$place/log/slurmdbd
PidFile=$place/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=33306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
chmod 600 /etc/slurm/slurmdbd.conf

cat >/etc/slurm/slurm.conf <<CONF
ClusterName=one
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldLogFile=$place/log/slurmctld
SlurmdLogFile=$place/log/slurmd
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=5
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=$host
JobAcctGatherType=jobacct_gather/none
NodeName=$host CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

slurmdbd
for _ in $(seq 60); do
    sacctmgr -n list cluster >/dev/null 2>&1 && break
    sleep 0.5
done
sacctmgr -i add cluster one >/dev/null 2>&1 || true
slurmctld
slurmd
for _ in $(seq 60); do
    [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && break
    sleep 0.5
done
sinfo
