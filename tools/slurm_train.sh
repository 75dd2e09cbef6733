#!/bin/bash
# Train under SLURM, through time limits and pre-emption:
#
#   sbatch --gres=gpu:2 --ntasks=2 --time=12:00:00 tools/slurm_train.sh configs/deeplabv3_focaldice.py --data-root DATA
#
# Give --work-dir if several jobs train the same config. Jobs come back to the queue and go on until training is done.
#SBATCH --job-name=cityseg
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@300
# Five minutes before the time limit SLURM sends USR1 to the training processes: they save and leave with code 138.
# When a job is pre-empted they get TERM, save, leave with 143, and SLURM itself puts the job back.
set -u
trap : TERM USR1 # this shell waits for them

launcher=none
if [ "${SLURM_NTASKS:-1}" -gt 1 ]; then launcher=slurm; fi
# One that saves and leaves must not have the others killed before they do; one that fails ends them a minute later.
srun --kill-on-bad-exit=0 --wait=60 python -u tools/train.py "$@" --launcher "$launcher" --resume &
step=$!
wait "$step"
code=$?
while kill -0 "$step" 2>/dev/null; do # a signal ends `wait` early
    wait "$step"
    code=$?
done
if [ "$code" -eq 138 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
