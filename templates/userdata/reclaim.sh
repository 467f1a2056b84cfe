#!/bin/sh
# Waits until EC2 announces that it takes this machine back, then checkpoints every container with ARCH's variables.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
metadata=${METADATA:-http://169.254.169.254}
containers=${CONTAINERS:-/run/perdure/containers/moby}

announced() {
    token=$(curl -fsS -m 2 -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" "$metadata/latest/api/token") || return 1
    curl -fsS -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$metadata/latest/meta-data/spot/instance-action"
}

until announced 2>/dev/null; do sleep 2; done

for socket in /run/containerd/containerd.sock /run/docker/containerd/containerd.sock; do
    [ -S "$socket" ] && address=$socket && break
done
for state in "$containers"/*/state.json; do
    grep -q '"archive"' "$state" 2>/dev/null || continue
    id=${state%/state.json} id=${id##*/}
    # The interposer puts the image where the variables say; the path given here only keeps containerd from making its own.
    ctr --address "${address:-/run/containerd/containerd.sock}" --namespace moby \
        tasks checkpoint --exit --image-path "${state%/*}/unused" "$id" &
done
wait
# The machine is about to go, and the announcement does not change any more.
exec sleep infinity
