"""The shipped data cards, one YAML per dataset; a package so that they travel with an installation."""
