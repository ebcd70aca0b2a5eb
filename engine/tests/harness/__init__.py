"""What several tests share: the oracle, and a stand that runs services in this process."""
