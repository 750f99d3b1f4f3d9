"""The daemon's HTTP port: health, metrics, webhooks, within bounds."""
