"""`settings`: how this installation stands."""


def settings() -> None:
    """Show every setting: value, default, where it comes from, what it means. Secrets are masked."""
    from rich.console import Console
    from rich.table import Table

    from kalshi_platform.service.settings import describe, load_settings

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("setting", "value", "default", "source", "meaning"):
        table.add_column(heading, overflow="fold")
    for line in describe(load_settings()):
        table.add_row(line.name, line.value, line.default, line.source, line.meaning)
    Console().print(table)
