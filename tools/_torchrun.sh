# Sourced by dist_train.sh and dist_test.sh: start PROCESSES copies of a script that belong together.
#   launch PROCESSES SCRIPT [argument ...]
launch() {
    local processes=$1 script=$2 rendezvous
    shift 2
    if [ "${NNODES:-1}" -gt 1 ]; then
        rendezvous=(--nnodes "$NNODES" --node-rank "${NODE_RANK:?}" --master-addr "${MASTER_ADDR:?}"
            --master-port "${PORT:-29500}")
    else
        rendezvous=(--standalone) # a free port: several jobs on one machine do not meet
    fi
    # torchrun would give each process one thread, whatever the machine has.
    local threads=$(($(getconf _NPROCESSORS_ONLN) / processes))
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
    exec "${PYTHON:-python}" -m torch.distributed.run "${rendezvous[@]}" --nproc-per-node "$processes" \
        "$script" "$@" --launcher pytorch
}

# The comment that a script begins with.
usage() {
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
