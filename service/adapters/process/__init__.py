"""What a process needs of its system: logs, standard streams, ticks, systemd."""
