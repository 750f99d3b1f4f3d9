"""``completion``: the shell finishes commands and options."""

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from service.cli.app import app

Shell = Annotated[Literal["bash", "zsh", "fish"], Parameter(help="bash, zsh or fish.")]


@app.command
def completion(shell: Shell, /) -> None:
    """Print the script that lets your shell complete commands and options.

    - bash: `source <(refund-sync completion bash)`, in ~/.bashrc
    - zsh: `source <(refund-sync completion zsh)`, in ~/.zshrc after compinit
    - fish: `refund-sync completion fish | source`, in ~/.config/fish/config.fish
    """
    sys.stdout.write(app.meta.generate_completion(prog_name="refund-sync", shell=shell))
