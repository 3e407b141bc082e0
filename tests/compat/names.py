"""Names of memcached's statistics."""

# All that 1.6.45 has with default options, in its order.
STATS_OF_1_6_45 = """
    pid uptime time version libevent pointer_size rusage_user rusage_system max_connections
    curr_connections total_connections rejected_connections connection_structures
    response_obj_oom response_obj_count response_obj_bytes
    read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom reserved_fds
    cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits
    cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large store_no_memory
    auth_cmds auth_errors bytes_read bytes_written limit_maxbytes
    accepting_conns listen_disabled_num time_in_listen_disabled_us threads conn_yields
    hash_power_level hash_bytes hash_is_expanding
    slab_reassign_rescues slab_reassign_chunk_rescues slab_reassign_inline_reclaim
    slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem
    slab_reassign_last_busy_status slab_reassign_running slabs_moved
    lru_crawler_running lru_crawler_starts lru_maintainer_juggles malloc_fails
    log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent log_watchers
    unexpected_napi_ids round_robin_fallback bytes curr_items total_items slab_global_page_pool
    expired_unfetched evicted_unfetched evicted_active evictions reclaimed
    crawler_reclaimed crawler_items_checked lrutail_reflocked
    moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped
""".split()

# What `stats settings` has in every build of 1.6.45, in its order.
SETTINGS_OF_1_6_45 = """
    maxbytes maxconns tcpport udpport inter verbosity oldest evictions domain_socket umask
    shutdown_command growth_factor chunk_size num_threads num_threads_per_udp stat_key_prefix
    detail_enabled reqs_per_event cas_enabled tcp_backlog binding_protocol
    auth_enabled_sasl auth_enabled_ascii item_size_max maxconns_fast hashpower_init
    slab_reassign slab_automove slab_automove_ratio slab_automove_window slab_chunk_max
    lru_crawler lru_crawler_sleep lru_crawler_tocrawl tail_repair_time
    flush_enabled dump_enabled hash_algorithm lru_maintainer_thread lru_segmented
    hot_lru_pct warm_lru_pct hot_max_factor warm_max_factor temp_lru temporary_ttl
    idle_timeout watcher_logbuf_size worker_logbuf_size read_buf_mem_limit track_sizes
    inline_ascii_response drop_privileges
    ext_item_size ext_item_age ext_low_ttl ext_recache_rate ext_wbuf_size ext_compact_under
    ext_drop_under ext_max_sleep ext_max_frag slab_automove_freeratio ext_drop_unread
    ssl_enabled ssl_chain_cert ssl_key ssl_verify_mode ssl_keyformat ssl_ciphers ssl_ca_cert
    ssl_wbuf_size ssl_session_cache ssl_kernel_tls ssl_min_version
    proxy_enabled proxy_uring_enabled num_napi_ids memory_file client_flags_size
""".split()

ITEMS_OF_1_6_45 = """
    number number_hot number_warm number_cold number_temp age_hot age_warm age mem_requested
    evicted evicted_nonzero evicted_time outofmemory tailrepairs reclaimed
    expired_unfetched evicted_unfetched evicted_active crawler_reclaimed crawler_items_checked
    lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru direct_reclaims
    hits_to_hot hits_to_warm hits_to_cold hits_to_temp
""".split()

SLABS_OF_1_6_45 = """
    chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end
    get_hits cmd_set delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits
""".split()

# What each tool looks up, by kind of stats; class 1 stands for all.
READ_BY_TOOLS = {
    "memcached-tool": {
        "items": "items:1:number items:1:age items:1:evicted items:1:evicted_time items:1:outofmemory".split(),
        "slabs": "1:chunk_size 1:total_pages 1:total_chunks 1:used_chunks".split(),
    },
    "munin": {
        "": """
            pid uptime time version pointer_size rusage_user rusage_system
            curr_items total_items bytes curr_connections total_connections connection_structures
            cmd_flush cmd_get cmd_set get_hits get_misses delete_misses delete_hits
            incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval
            touch_hits touch_misses cmd_touch evictions reclaimed expired_unfetched evicted_unfetched
            bytes_read bytes_written limit_maxbytes threads auth_cmds auth_errors
        """.split(),
        "settings": "maxbytes maxconns tcpport udpport inter evictions growth_factor chunk_size item_size_max".split(),
        "items": "items:1:number items:1:age items:1:evicted items:1:evicted_nonzero items:1:evicted_time "
        "items:1:outofmemory items:1:tailrepairs items:1:reclaimed".split(),
        "slabs": "1:chunk_size 1:total_pages 1:total_chunks 1:used_chunks 1:free_chunks 1:get_hits 1:cmd_set "
        "1:delete_hits 1:incr_hits 1:decr_hits 1:cas_hits 1:cas_badval active_slabs total_malloced".split(),
    },
    "the Prometheus exporter": {
        "": """
            version uptime time max_connections curr_connections total_connections rejected_connections
            connection_structures response_obj_oom response_obj_count response_obj_bytes
            read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom
            rusage_user rusage_system conn_yields listen_disabled_num accepting_conns threads
            cmd_get cmd_set cmd_flush cmd_touch get_hits get_misses get_expired get_flushed
            delete_hits delete_misses incr_hits incr_misses decr_hits decr_misses
            cas_hits cas_misses cas_badval touch_hits touch_misses
            bytes bytes_read bytes_written limit_maxbytes curr_items total_items
            evictions reclaimed expired_unfetched evicted_unfetched store_too_large store_no_memory
            malloc_fails hash_bytes slabs_moved lru_crawler_starts lru_crawler_running
            crawler_items_checked crawler_reclaimed lru_maintainer_juggles direct_reclaims
            moves_to_cold moves_to_warm moves_within_lru lru_bumps_dropped
        """.split(),
        "settings": """
            maxconns lru_crawler lru_crawler_sleep lru_crawler_tocrawl lru_maintainer_thread
            hot_lru_pct warm_lru_pct hot_max_factor warm_max_factor
        """.split(),
        "items": [f"items:1:{name}" for name in ITEMS_OF_1_6_45 if name != "number_temp"],
        "slabs": [f"1:{name}" for name in SLABS_OF_1_6_45] + ["active_slabs", "total_malloced"],
    },
}
