"""Work over many inputs, divided into shards, with one Parquet file per shard."""
