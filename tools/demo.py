"""Try a model in the browser: drop a photograph on a page of this machine, and see what is what.

python tools/demo.py work_dirs/deeplabv3_focaldice/best_mDice_epoch_20.pth

The page is served to this machine only, loads nothing from elsewhere, and keeps no photograph. Ctrl-C ends it, after a
prediction that runs.
It needs a small web server: pip install "cityseg-ext[demo]"
"""

import argparse
import sys
import webbrowser
from pathlib import Path

import _cli
import _prediction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", help="checkpoint file; only tensors are read from it")
    add("--config", help=_prediction.CONFIG_HELP)
    add("--host", default="127.0.0.1", help="address to serve on; others than this let other machines in")
    add("--port", type=int, default=7860, help="0 takes any that is free (default: %(default)s)")
    add("--max-upload", type=int, default=32, metavar="MIB", help="largest file taken (default: %(default)s MiB)")
    add("--open", action="store_true", help="open the page in the browser")
    _prediction.add_prediction_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from cityseg_ext.apis.demo import address, listen, make_app, serve
    from cityseg_ext.apis.predictor import Predictor

    listener = listen(args.host, args.port)  # first: a port in use is told before a model is loaded
    url, private = address(listener)
    if not private:
        print(
            f"Warning: {args.host} is not this machine alone: whoever can reach it can use the model, without password "
            "or encryption.",
            file=sys.stderr,
        )
    cfg, arguments = _prediction.predictor_of(args)
    predictor = Predictor(cfg, args.checkpoint, **arguments)
    app = make_app(predictor, Path(cfg.filename).stem, Path(args.checkpoint).name, args.host, args.max_upload)
    if args.open:
        webbrowser.open(url)
    print(f"Open {url} (Ctrl-C ends)", flush=True)  # it stays, and must be seen in a pipe too
    serve(app, listener)


if __name__ == "__main__":
    _cli.run(main)
