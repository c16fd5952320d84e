# Tape drives with tapes: tgt emulates them, and the initiator of the same guest logs in over the loopback. nst0 and nst1 hold tapes of 100 MB,
# nst2 one of 2 MB, and the tape in nst3 is written by tests that take it out.
# The modules scsi_transport_iscsi, iscsi_tcp, st and sg are loaded, and crc32c, without which the login fails.
busybox ip link set lo up
mkdir -p /run/lock /run/lab/tape
# A daemon must not keep the pipe that this script writes to.
tgtd -f > /run/lab/tgtd.log 2>&1 &
wait_for() {
    for _ in $(seq 1200); do
        if "$@" > /dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "120 s are over, and this still fails: $*"
    "$@"
}
wait_for tgtadm --lld iscsi --op show --mode system
tgtadm --lld iscsi --op new --mode target --tid 1 -T iqn.2026-01.lab:tape
drive() {
    tgtimg --op new --device-type tape --barcode="T$1" --size="$2" --type=data --file="/run/lab/tape/T$1"
    tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun "$1" -b "/run/lab/tape/T$1" --device-type=tape --bstype=ssc
}
# Numbers of units become those of the nodes, in this order.
drive 1 100
drive 2 100
drive 3 2
drive 4 100
tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL
iscsid > /run/lab/iscsid.log 2>&1
wait_for iscsiadm -m discovery -t st -p 127.0.0.1
iscsiadm -m node --login
wait_for test -c /dev/nst3
