"""Service managers: systemd over D-Bus, systemctl, and commands from the configuration."""
