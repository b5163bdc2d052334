"""`python -m fairlead`: the command line."""

from fairlead.cli.main import app

if __name__ == "__main__":
    app(prog_name="fairlead")
