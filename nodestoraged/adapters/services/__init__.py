"""Service managers: systemd over D-Bus, systemctl, OpenRC, and commands of the operator."""
