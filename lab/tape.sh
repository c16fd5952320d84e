# A tape drive with a tape: tgt emulates it, and the initiator of the same guest logs in over the loopback.
# The modules scsi_transport_iscsi, iscsi_tcp, st and sg are loaded, and crc32c, without which the login fails.
busybox ip link set lo up
mkdir -p /run/lock /run/lab/tape
# A daemon must not keep the pipe that this script writes to.
tgtd -f > /run/lab/tgtd.log 2>&1 &
wait_for() {
    for _ in $(seq 300); do
        if "$@" > /dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "30 s are over, and this still fails: $*"
    "$@"
}
wait_for tgtadm --lld iscsi --op show --mode system
tgtimg --op new --device-type tape --barcode=A1 --size=100 --type=data --file=/run/lab/tape/A1
tgtadm --lld iscsi --op new --mode target --tid 1 -T iqn.2026-01.lab:tape
tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b /run/lab/tape/A1 --device-type=tape --bstype=ssc
tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL
iscsid > /run/lab/iscsid.log 2>&1
wait_for iscsiadm -m discovery -t st -p 127.0.0.1
iscsiadm -m node --login
wait_for test -c /dev/nst0
