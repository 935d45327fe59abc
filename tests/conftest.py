"""What every test is given."""

pytest_plugins = ["controlplane.plugin", "pytester"]
