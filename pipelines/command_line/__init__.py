"""What commands are made of: the parser, shared options, the training driver."""
